//! Whether a user that we are not (yet) may read a path: by the mode bits of every directory on the way to it.
//!
//! Invariant: nothing is said to be denied that an access list may grant; it is said to be unknown.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Whom a server runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name, for messages.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// Its own group.
    pub gid: u32,
    /// The other groups that it is in.
    pub groups: Vec<u32>,
}

/// What is to be done with the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// List it and enter it.
    Directory,
    /// Read it.
    File,
}

/// Whether it can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    Granted,
    /// It cannot; the obstacle and the remedy.
    Denied(String),
    /// An access list, which is not read here, has the last word.
    Unknown(String),
}

const READ: u32 = 4;
const ENTER: u32 = 1;

/// Whether `account` may do with `path` what is wanted.
pub(super) fn reach(account: &Account, path: &Path, want: Want) -> Reach {
    if account.uid == 0 {
        return Reach::Granted;
    }
    let last = match want {
        Want::Directory => READ | ENTER,
        Want::File => READ,
    };
    for (place, bits) in places(path, last) {
        let Ok(metadata) = std::fs::metadata(&place) else {
            return Reach::Unknown(format!("{} cannot be looked at", place.display()));
        };
        if bits_of(account, metadata.mode(), metadata.uid(), metadata.gid()) & bits == bits {
            continue;
        }
        let (verb, letters) =
            if bits == ENTER { ("enter", "x") } else { ("read", if bits == READ { "r" } else { "rx" }) };
        let (place_name, mode) = (place.display(), metadata.mode() & 0o7777);
        if has_access_list(&place) {
            let name = &account.name;
            return Reach::Unknown(format!(
                "the access list of {place_name} decides whether the user {name} may {verb} it"
            ));
        }
        return Reach::Denied(format!(
            "the user {} may not {verb} {place_name}, which has mode {mode:04o} and belongs to user {} and group {}; `chmod \
             o+{letters} {place_name}`, or give it to a group of that user, or serve as another (--user)",
            account.name,
            metadata.uid(),
            metadata.gid()
        ));
    }
    Reach::Granted
}

/// All that is passed on the way, by the path as it is written and by that to which its links lead, and what is needed of each.
fn places(path: &Path, last: u32) -> Vec<(PathBuf, u32)> {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| whole.clone());
    let mut directories = BTreeSet::new();
    for path in [&whole, &real] {
        directories.extend(path.ancestors().skip(1).map(Path::to_owned));
    }
    directories.into_iter().map(|path| (path, ENTER)).chain([(real, last)]).collect()
}

/// The bits of a mode that count for this account: the first class that it belongs to, and no other.
fn bits_of(account: &Account, mode: u32, uid: u32, gid: u32) -> u32 {
    let class = if account.uid == uid {
        mode >> 6
    } else if account.gid == gid || account.groups.contains(&gid) {
        mode >> 3
    } else {
        mode
    };
    class & 7
}

fn has_access_list(path: &Path) -> bool {
    let mut nothing = [0_u8; 0];
    rustix::fs::getxattr(path, "system.posix_acl_access", &mut nothing).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(uid: u32) -> Account {
        Account { name: "somebody".to_owned(), uid, gid: 40_000, groups: vec![40_001] }
    }

    #[test]
    fn the_first_class_counts() {
        for (mode, uid, gid, expected) in [
            (0o750, 30_000, 40_000, 7),
            (0o057, 30_000, 40_000, 0),
            (0o750, 1, 40_000, 5),
            (0o705, 1, 40_001, 0),
            (0o754, 1, 1, 4),
        ] {
            assert_eq!(bits_of(&account(30_000), mode, uid, gid), expected, "{mode:o}");
        }
    }

    #[test]
    fn every_directory_on_the_way_counts() {
        use std::fs::{Permissions, create_dir_all, set_permissions, write};
        use std::os::unix::fs::PermissionsExt;
        let top = std::env::temp_dir().join(format!("otus-httpd-reach-{}", std::process::id()));
        let root = top.join("locked/root");
        create_dir_all(&root).expect("a directory of the test");
        write(root.join("file"), "").expect("a file of the test");
        let mode = |path: &Path, mode| set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
        for path in [&top, &top.join("locked"), &root] {
            mode(path, 0o755);
        }
        mode(&root.join("file"), 0o640);
        let stranger = account(30_000);
        let reached = [
            reach(&stranger, &root, Want::Directory),
            reach(&stranger, &root.join("file"), Want::File),
            reach(&account(0), &root.join("file"), Want::File),
        ];
        mode(&top.join("locked"), 0o700);
        let locked = reach(&stranger, &root, Want::Directory);
        std::fs::remove_dir_all(&top).expect("it is ours");
        assert_eq!((&reached[0], &reached[2]), (&Reach::Granted, &Reach::Granted));
        assert!(matches!(&reached[1], Reach::Denied(why) if why.contains("may not read") && why.contains("o+r ")));
        assert!(
            matches!(&locked, Reach::Denied(why) if why.contains("may not enter") && why.contains("/locked,")),
            "{locked:?}"
        );
    }
}
