//! Who the process is, and the rights that it gives up.
//!
//! Order: no new rights ([`forbid_new`], before any thread is started) · who is to serve ([`Identity::choose`]) · limits that
//! only root may raise, and no core dumps ([`set_limits`]) · what root opens, elsewhere · [`Identity::take_on`], which gives
//! the rest up in all threads at once: glibc passes the calls on to each of them.
//!
//! Invariant: a process that was started as root serves as root only if it was told to by name, and once
//! [`Identity::take_on`] has returned for another account, nothing in the process can become root again.

use super::{Options as ServerOptions, StartError, preflight, worker};
use nix::unistd::{self, Gid, Uid};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use std::ffi::CString;

/// What the configuration says of rights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The account to serve as.
    pub user: Option<User>,
    /// Its group, in the place of the account's own.
    pub group: Option<Group>,
    /// Whether the kernel may write the memory of a process that crashed to disk.
    pub core_dumps: bool,
}

/// A user of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// As it was asked for.
    pub name: String,
    uid: u32,
    /// Its primary group; a number that no account has, has none.
    gid: Option<u32>,
}

/// A group of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// As it was asked for.
    pub name: String,
    gid: u32,
}

impl User {
    /// The user of this name, or number. The error names the remedy.
    pub fn look_up(name: &str) -> Result<User, String> {
        let found =
            |user: unistd::User| User { name: name.to_owned(), uid: user.uid.as_raw(), gid: Some(user.gid.as_raw()) };
        let failed = |errno: nix::Error| format!("the user {name:?} cannot be looked up: {}", errno.desc());
        if let Some(user) = unistd::User::from_name(name).map_err(failed)? {
            return Ok(found(user));
        }
        let Some(uid) = number(name) else {
            return Err(format!("there is no user {name:?}; make it (`useradd --system {name}`), or name another"));
        };
        let listed = unistd::User::from_uid(Uid::from_raw(uid)).map_err(failed)?;
        Ok(listed.map_or_else(|| User { name: name.to_owned(), uid, gid: None }, found))
    }
}

impl Group {
    /// The group of this name, or number. The error names the remedy.
    pub fn look_up(name: &str) -> Result<Group, String> {
        let failed = |errno: nix::Error| format!("the group {name:?} cannot be looked up: {}", errno.desc());
        let listed = unistd::Group::from_name(name).map_err(failed)?.map(|group| group.gid.as_raw());
        match listed.or_else(|| number(name)) {
            Some(gid) => Ok(Group { name: name.to_owned(), gid }),
            None => Err(format!("there is no group {name:?}; make it (`groupadd --system {name}`), or name another")),
        }
    }
}

/// A user or group that is written as a number: all but the last, which stands for "as it is" in system calls.
fn number(name: &str) -> Option<u32> {
    name.parse().ok().filter(|number| *number != u32::MAX && name.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Tried in this order, where the process was started as root and nobody was named.
const DEFAULT_USERS: [&str; 3] = ["otus-httpd", "www-data", "nobody"];

/// From here on, no program that this process becomes can have more rights than it. For the first line of `main`: the kernel
/// keeps this for each thread, and threads have it from the one that starts them.
pub fn forbid_new() {
    // It fails on kernels that are too old for all else.
    let _ = rustix::thread::set_no_new_privs(true);
}

/// As whom the process is to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// As whom it was started.
    Unchanged,
    /// As another, or with other groups.
    Other(Account),
}

/// Whom the process becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// As it was asked for.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

impl Identity {
    /// Decides it, or says why it cannot be.
    pub fn choose(options: &Options) -> Result<Identity, StartError> {
        if !unistd::geteuid().is_root() {
            return keep(options).map(|()| Identity::Unchanged);
        }
        let default = || DEFAULT_USERS.iter().find_map(|name| User::look_up(name).ok());
        let user = options.user.clone().or_else(default).ok_or_else(|| {
            let names = DEFAULT_USERS.join(", ");
            StartError(format!(
                "started as root, and this machine has no user to serve as ({names}); name one with --user, or \
                 say --user root"
            ))
        })?;
        if user.uid == 0 && options.group.is_none() {
            return Ok(Identity::Unchanged);
        }
        let gid = options.group.as_ref().map(|group| group.gid).or(user.gid).ok_or_else(|| {
            StartError(format!(
                "no account has the number {0}, so that it has no group; name one: {0}:GROUP",
                user.name
            ))
        })?;
        Ok(Identity::Other(Account { name: user.name, uid: user.uid, gid }))
    }

    /// Whom the process is to become, where that is not who it is.
    pub fn account(&self) -> Option<&Account> {
        match self {
            Identity::Unchanged => None,
            Identity::Other(account) => Some(account),
        }
    }

    /// User and group that what is made for later must belong to.
    pub fn owner(&self) -> Option<(u32, u32)> {
        self.account().map(|account| (account.uid, account.gid))
    }

    /// Becomes it, with all threads, and sees that there is no way back.
    pub fn take_on(&self, options: &Options) -> Result<(), StartError> {
        if let Identity::Other(account) = self {
            account.take_on()?;
            tracing::debug!("serving as {} (user {}, group {})", account.name, account.uid, account.gid);
        }
        // Whoever changes its user is not dumped, lest its new one reads what the old one knew; and nobody is who was this user from the
        // start, for keys are in memory, and a program that takes dumps need not care for limits.
        let _ = set_dumpable_behavior(if options.core_dumps {
            DumpableBehavior::Dumpable
        } else {
            DumpableBehavior::NotDumpable
        });
        Ok(())
    }
}

impl Account {
    /// All groups that it will be in, its own among them: for who wants to know beforehand what it may read.
    pub fn groups(&self) -> Vec<u32> {
        let gid = Gid::from_raw(self.gid);
        let listed = self.listed_name().and_then(|name| unistd::getgrouplist(&name, gid).ok());
        listed.unwrap_or_else(|| vec![gid]).into_iter().map(Gid::as_raw).collect()
    }

    fn take_on(&self) -> Result<(), StartError> {
        let failed = |what: &str, why: &str| {
            StartError(format!(
                "cannot serve as {}: {what}: {why}; let the process change its user (CAP_SETUID, CAP_SETGID), start \
                 it as that user, or say --user root",
                self.name
            ))
        };
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        let groups = match self.listed_name() {
            Some(name) => unistd::initgroups(&name, gid),
            None => unistd::setgroups(&[gid]),
        };
        groups.map_err(|errno| failed("its groups cannot be set", errno.desc()))?;
        unistd::setresgid(gid, gid, gid).map_err(|errno| failed("its group cannot be taken on", errno.desc()))?;
        unistd::setresuid(uid, uid, uid).map_err(|errno| failed("its user cannot be taken on", errno.desc()))?;
        if uid.is_root() {
            return Ok(());
        }
        let users = unistd::getresuid().map(|ids| [ids.real, ids.effective, ids.saved]);
        let groups = unistd::getresgid().map(|ids| [ids.real, ids.effective, ids.saved]);
        if users != Ok([uid; 3]) || groups != Ok([gid; 3]) {
            return Err(failed("the kernel says otherwise", "user or group did not change"));
        }
        let root = Uid::from_raw(0);
        if unistd::setresuid(root, root, root).is_ok() {
            return Err(failed("it could become root again", "the process keeps rights over users"));
        }
        Ok(())
    }

    /// The name that goes with the number, if any does: the account may have been asked for by its number.
    fn listed_name(&self) -> Option<CString> {
        let user = unistd::User::from_uid(Uid::from_raw(self.uid)).ok()??;
        CString::new(user.name).ok()
    }
}

/// A process that is not root stays who it is; nothing else may have been asked for.
fn keep(options: &Options) -> Result<(), StartError> {
    let (uid, gid) = (unistd::geteuid(), unistd::getegid());
    if let Some(user) = options.user.as_ref().filter(|user| user.uid != uid.as_raw()) {
        return Err(StartError(format!(
            "only root can serve as {}, and this is {}; start it as root, or leave the user out",
            user.name,
            whoami()
        )));
    }
    let is_ours = |group: &Group| {
        let others = unistd::getgroups().unwrap_or_default();
        group.gid == gid.as_raw() || others.contains(&Gid::from_raw(group.gid))
    };
    if let Some(group) = options.group.as_ref().filter(|group| !is_ours(group)) {
        return Err(StartError(format!(
            "only root can take on the group {}, and this is {}, who is not in it; start it as root, or leave the group \
             out",
            group.name,
            whoami()
        )));
    }
    Ok(())
}

/// The user that this process is, for people.
pub fn whoami() -> String {
    let uid = unistd::geteuid();
    let listed = unistd::User::from_uid(uid).ok().flatten();
    listed.map_or_else(|| uid.to_string(), |user| user.name)
}

/// Sets limits while the rights to are there: no core dumps, and as many descriptors and as much locked memory as are needed
/// to serve, where the hard limits are below that. Without the rights, `preflight` has the word.
pub fn set_limits(options: &ServerOptions) {
    if !options.privileges.core_dumps {
        // To lower a limit is always permitted.
        let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    }
    if unistd::geteuid().is_root() {
        lift(Resource::Nofile, preflight::descriptors_needed(options));
        lift(Resource::Memlock, options.workers as u64 * worker::LOCKED_BYTES);
    }
}

fn lift(resource: Resource, needed: u64) {
    if getrlimit(resource).maximum.is_some_and(|most| most < needed) {
        // In a container even root may lack the right to.
        let _ = setrlimit(resource, Rlimit { current: Some(needed), maximum: Some(needed) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_go_by_name_or_number() {
        let root = User { name: "root".to_owned(), uid: 0, gid: Some(0) };
        assert_eq!(User::look_up("root"), Ok(root.clone()));
        assert_eq!(User::look_up("0"), Ok(User { name: "0".to_owned(), ..root }));
        assert_eq!(User::look_up("4000000001").map(|user| (user.uid, user.gid)), Ok((4_000_000_001, None)));
        assert_eq!(Group::look_up("root").map(|group| group.gid), Ok(0));
        assert_eq!(Group::look_up("4000000001").map(|group| group.gid), Ok(4_000_000_001));
        // -1 in any form would leave all as it is.
        for name in ["no-such-one", "", "-1", "+5", "4294967295", "4294967296", "a b"] {
            let (user, group) = (User::look_up(name), Group::look_up(name));
            assert!(user.as_ref().is_err_and(|why| why.contains("no user")), "{name}: {user:?}");
            assert!(group.as_ref().is_err_and(|why| why.contains("no group")), "{name}: {group:?}");
        }
    }

    #[test]
    fn root_is_never_left_in_place_in_silence() {
        let user = |name: &str| User::look_up(name).ok();
        let choose =
            |user: Option<User>, group: Option<Group>| Identity::choose(&Options { user, group, core_dumps: false });
        let myself = choose(user(&unistd::geteuid().to_string()), None);
        assert!(matches!(myself, Ok(Identity::Unchanged)), "whoever names itself stays: {myself:?}");
        if unistd::geteuid().is_root() {
            let other = choose(None, None).expect("this machine has a user to serve as");
            assert!(other.owner().is_some_and(|(uid, gid)| uid != 0 && gid != 0), "{other:?}");
            assert!(other.account().is_some_and(|account| account.groups().contains(&account.gid)), "{other:?}");
            let error = choose(user("4000000001"), None).expect_err("it has no group").to_string();
            assert!(error.contains("4000000001:GROUP"), "{error}");
            let group = Group::look_up("4000000002").ok();
            assert_eq!(
                choose(user("4000000001"), group).map(|one| one.owner()).ok(),
                Some(Some((4_000_000_001, 4_000_000_002)))
            );
        } else {
            let error = choose(user("0"), None).expect_err("only root can be root").to_string();
            assert!(error.contains("only root can serve as 0"), "{error}");
        }
    }
}
