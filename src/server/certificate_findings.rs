//! What is to be said of the certificates of a configuration before a server starts with it.
//!
//! Order: what would be refused · what clients would not like · who may read the keys.
//!
//! Invariant: an error is what a start would be refused for, and nothing else.

use super::certificates::{load, unix_seconds};
use super::doctor::{Finding, Level};
use super::reach::{self, Account, Reach, Want};
use super::reader;
use crate::tls::{Options, Plan};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const TOPIC: &str = "certificate";

/// The first number that Linux systems give to people and their groups; those below are the system's, such as `ssl-cert`.
const PEOPLE_MIN: u32 = 1000;

/// All findings; `account` is whom the server will be, where that is somebody else.
pub(super) fn examine(plan: &Plan, account: Option<&Account>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (place, table) in (0_u16..).zip(&plan.tables) {
        of_table(table, plan.offers_http2, account, &mut findings);
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

fn of_table(table: &Options, offers_http2: bool, account: Option<&Account>, findings: &mut Vec<Finding>) {
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
            if let Reach::Denied(_) = reach::reach(account, file, Want::File) {
                let what = format!(
                    "root may read it, and the user {} may not: where the server is started as root, a process that stays root \
                     reads it for the server; where systemd starts it as that user, it needs to be readable: see docs/https.md",
                    account.name
                );
                findings.push(say(Level::Note, file, &what));
                if !reader::is_guarded(file).unwrap_or(true) {
                    let what = "it will be read at the start and not again: others than root own it, or may change a directory that leads to \
                                it; `chown root` and `chmod go-w` them, or let the server's account read it";
                    findings.push(say(Level::Warning, file, what));
                }
            }
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
            of_table(table, true, None, &mut findings);
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
        let unused = examine(&plan, None);
        std::fs::remove_dir_all(&directory).expect("it is ours");
        assert!(matches!(&good[..], [(Level::Ok, what)] if what.contains("ends in 89 days")), "{good:?}");
        assert!(matches!(&open[..], [_, (Level::Warning, what)] if what.contains("chmod o-rwx")), "{open:?}");
        assert!(matches!(&other[..], [(Level::Warning, what)] if what.contains("not for example.com")), "{other:?}");
        assert!(matches!(&gone[..], [(Level::Error, what)] if what.contains("none.crt: no such file")), "{gone:?}");
        let is_of_authorities = |what: &str| what.contains("authorities.crt: a certificate in it cannot be used");
        assert!(matches!(&strangers[..], [(Level::Error, what)] if is_of_authorities(what)), "{strangers:?}");
        assert!(unused.iter().any(|finding| finding.what.contains("no address shows it")), "{unused:?}");
    }
}
