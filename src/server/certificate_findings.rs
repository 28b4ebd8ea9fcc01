//! What is to be said of the certificates of a configuration before a server starts with it, or changes to it.
//!
//! Order: what would be refused · what clients would not like · who may read the keys.
//!
//! Invariant: an error is what a start would be refused for, or a reload where one is about to be, and nothing else.

use super::certificates::{load, unix_seconds};
use super::doctor::{Finding, Level, Occasion};
use super::reach::{self, Account, Reach, Want};
use super::reader;
use crate::tls::{Options, Plan};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const TOPIC: &str = "certificate";

/// The first number that Linux systems give to people and their groups; those below are the system's, such as `ssl-cert`.
const PEOPLE_MIN: u32 = 1000;

/// All findings; `account` is whom the server will be, where that is somebody else.
pub(super) fn examine(plan: &Plan, account: Option<&Account>, occasion: Occasion) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (place, table) in (0_u16..).zip(&plan.tables) {
        of_table(table, plan.offers_http2, account, occasion, &mut findings);
        let is_used = plan.listeners.iter().flatten().any(|names| names.places().any(|used| used == place));
        if !is_used {
            let what = "no address shows it; put `tls` behind one of `listen`, such as \"443 tls\"";
            findings.push(say(Level::Warning, &table.certificate, what));
        }
    }
    findings
}

fn say(level: Level, path: &Path, what: &str) -> Finding {
    Finding::new(level, TOPIC, &format!("{}: {what}", path.display()))
}

fn of_table(
    table: &Options,
    offers_http2: bool,
    account: Option<&Account>,
    occasion: Occasion,
    findings: &mut Vec<Finding>,
) {
    let facts = match load(table, offers_http2, None) {
        Ok(loaded) => loaded.facts,
        Err(why) => {
            findings.push(Finding::new(Level::Error, TOPIC, &why));
            return;
        }
    };
    let now = unix_seconds();
    let concerns = facts.concerns(table.names.iter().map(String::as_str), now);
    findings.extend(concerns.iter().map(|concern| say(Level::Warning, &table.certificate, concern)));
    if concerns.is_empty() {
        let (names, days) = (facts.names.join(", "), facts.days_left(now));
        findings.push(say(Level::Ok, &table.certificate, &format!("it is for {names}, and ends in {days} days")));
    }
    findings.extend(readers(&table.key, account));
    if let Some(account) = account {
        for file in table.files() {
            match reach::reach(account, file, Want::File) {
                Reach::Granted => {}
                Reach::Denied(_) => {
                    // As the process that reads it for the server sees it.
                    let is_guarded = reader::is_guarded(file).unwrap_or(false);
                    findings.extend(for_root_alone(file, &account.name, is_guarded, occasion));
                }
                Reach::Unknown(why) => findings.push(say(Level::Note, file, &why)),
            }
        }
    }
}

/// What comes of a file that root may read, and the user that serves may not. Nobody but root can change one that `is_guarded`.
fn for_root_alone(file: &Path, user: &str, is_guarded: bool, occasion: Occasion) -> Vec<Finding> {
    let whose = format!("root may read it, and the user {user} may not");
    let why_not = "others than root own it, or may change a directory that leads to it; `chown root` and `chmod go-w` them, or let the \
                   server's account read it";
    match (occasion, is_guarded) {
        (Occasion::Reload, true) => {
            let what = format!(
                "{whose}: a server that systemd starts as that user will refuse the reload, and one that root started will not, for a \
                 process that stays root reads it there; let that user read it: see docs/https.md"
            );
            vec![say(Level::Warning, file, &what)]
        }
        (Occasion::Reload, false) => {
            vec![say(Level::Error, file, &format!("{whose}, and nothing will read it for the server: {why_not}"))]
        }
        (Occasion::Start | Occasion::StartOfParts, _) => {
            let what = format!(
                "{whose}: where the server is started as root, a process that stays root reads it for the server; where systemd starts it \
                 as that user, it needs to be readable: see docs/https.md"
            );
            let mut findings = vec![say(Level::Note, file, &what)];
            if !is_guarded {
                let what = format!(
                    "it will be read at the start and not again, and reloads and upgrades will be refused meanwhile: {why_not}"
                );
                findings.push(say(Level::Warning, file, &what));
            }
            findings
        }
    }
}

/// Who else may read a key.
fn readers(key: &Path, account: Option<&Account>) -> Option<Finding> {
    let metadata = std::fs::metadata(key).ok()?;
    let (mode, gid) = (metadata.mode() & 0o7777, metadata.gid());
    let is_ours = |account: &Account| account.gid == gid || account.groups.contains(&gid);
    let file = key.display();
    if mode & 0o004 != 0 {
        let what = format!("everybody on this machine may read the key (mode {mode:04o}); `chmod o-rwx {file}`");
        return Some(say(Level::Warning, key, &what));
    }
    if mode & 0o040 != 0 && gid >= PEOPLE_MIN && !account.is_some_and(is_ours) {
        let what = format!(
            "the group {gid} may read the key (mode {mode:04o}); `chmod g-rwx {file}`, or give it to the server's group"
        );
        return Some(say(Level::Warning, key, &what));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Clients;
    use crate::tls::numbers::InForce;
    use crate::tls::self_signed::self_signed;
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_that_others_may_read_is_told() {
        let directory = std::env::temp_dir().join(format!("otus-httpd-findings-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory of the test");
        let (certificate, key) = (directory.join("a.crt"), directory.join("a.key"));
        let made = self_signed(&["example.org".to_owned()], 90).expect("the name is good");
        write(&certificate, made.certificate).expect("a file of the test");
        write(&key, made.key).expect("a file of the test");
        let names = vec!["example.org".to_owned()];
        let table = Options { certificate, key: key.clone(), only_1_3: false, clients: None, names };
        let found = |mode, table: &Options| {
            set_permissions(&key, Permissions::from_mode(mode)).expect("it is ours");
            let mut findings = Vec::new();
            of_table(table, true, None, Occasion::Start, &mut findings);
            findings.into_iter().map(|finding| (finding.level, finding.message())).collect::<Vec<_>>()
        };
        let good = found(0o600, &table);
        let open = found(0o644, &table);
        let other = found(0o600, &Options { names: vec!["example.com".to_owned()], ..table.clone() });
        let gone = found(0o600, &Options { certificate: directory.join("none.crt"), ..table.clone() });
        let authorities = directory.join("authorities.crt");
        write(&authorities, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
            .expect("a file of the test");
        let clients = Some(Clients { authorities, is_required: true });
        let strangers = found(0o600, &Options { clients, ..table.clone() });
        let plan =
            Plan { tables: vec![table], in_force: vec![InForce::default()], listeners: vec![None], offers_http2: true };
        let unused = examine(&plan, None, Occasion::Start);
        std::fs::remove_dir_all(&directory).expect("it is ours");
        assert!(matches!(&good[..], [(Level::Ok, what)] if what.contains("ends in 89 days")), "{good:?}");
        assert!(matches!(&open[..], [_, (Level::Warning, what)] if what.contains("chmod o-rwx")), "{open:?}");
        assert!(matches!(&other[..], [(Level::Warning, what)] if what.contains("not for example.com")), "{other:?}");
        assert!(matches!(&gone[..], [(Level::Error, what)] if what.contains("none.crt: no such file")), "{gone:?}");
        let is_of_authorities = |what: &str| what.contains("authorities.crt: a certificate in it cannot be used");
        assert!(matches!(&strangers[..], [(Level::Error, what)] if is_of_authorities(what)), "{strangers:?}");
        assert!(unused.iter().any(|finding| finding.what.contains("no address shows it")), "{unused:?}");
    }

    #[test]
    fn a_key_for_root_alone_is_judged_by_what_is_about_to_happen() {
        use Level::{Error, Note, Warning};
        use Occasion::{Reload, Start, StartOfParts};
        type Row = (Occasion, bool, &'static [(Level, &'static str)]);
        let rows: [Row; 6] = [
            (Start, true, &[(Note, "a process that stays root reads it")]),
            (StartOfParts, true, &[(Note, "a process that stays root reads it")]),
            (
                Start,
                false,
                &[(Note, "a process that stays root reads it"), (Warning, "reloads and upgrades will be refused")],
            ),
            (
                StartOfParts,
                false,
                &[(Note, "it needs to be readable"), (Warning, "reloads and upgrades will be refused")],
            ),
            (Reload, true, &[(Warning, "will refuse the reload, and one that root started will not")]),
            (Reload, false, &[(Error, "nothing will read it for the server")]),
        ];
        for (occasion, is_guarded, expected) in rows {
            let findings = for_root_alone(Path::new("/k"), "www-data", is_guarded, occasion);
            assert_eq!(findings.len(), expected.len(), "{occasion:?} {is_guarded}");
            for (finding, (level, what)) in findings.iter().zip(expected) {
                let message = finding.message();
                assert!(finding.level == *level && message.contains(what), "{occasion:?} {is_guarded} {message}");
            }
        }
    }
}
