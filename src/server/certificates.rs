//! The certificates of a running server: read from their files, made into what the listeners show, and read anew when the files change.
//!
//! Order: [`Certificates::load`] reads all that a plan names · every few seconds [`Certificates::look`] looks whether files are others
//! than before, and has the listeners show what is in them.
//!
//! Invariant: a listener shows a pair that belongs together. Where files are broken or gone, what was read last is shown on.

use super::reader::{self, Reader};
use super::{StartError, privileges};
use crate::tls::facts::Facts;
use crate::tls::numbers::{TermsNumber, number_of};
use crate::tls::pair::{self, BadPair, Pair};
use crate::tls::terms::BadOffer;
use crate::tls::{Listener, Names, Offer, Options, Plan, Terms, terms};
use rustix::fs::Stat;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use zeroize::Zeroizing;

/// What the listeners of one configuration show.
#[derive(Debug)]
pub struct Certificates {
    plan: Arc<Plan>,
    listeners: Arc<[Option<Arc<Listener>>]>,
    shown: Vec<Shown>,
    reader: Option<Arc<Reader>>,
    last_look: Instant,
    last_reminder: Instant,
}

/// What one table of the plan came to.
#[derive(Debug)]
struct Shown {
    number: TermsNumber,
    offer: Offer,
    facts: Facts,
    /// The files that it was read from.
    read_from: Stamps,
    /// Others, which were found broken, and whether that was told.
    broken: Option<(Stamps, bool)>,
}

impl From<Loaded> for Shown {
    fn from(Loaded { number, offer, facts, stamps }: Loaded) -> Shown {
        Shown { number, offer, facts, read_from: stamps, broken: None }
    }
}

/// A certificate, for people and monitoring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its file.
    pub file: String,
    /// Whom it is for.
    pub names: Vec<String>,
    /// The last second in which it holds, as Unix time.
    pub ends: i64,
}

/// Between two looks at the files.
const LOOK_PAUSE: Duration = Duration::from_secs(5);

/// Between two reminders that a certificate ends.
const REMINDER_PAUSE: Duration = Duration::from_secs(86_400);

impl Certificates {
    /// Reads all files of the plan, through `reader` where this process may not.
    pub(super) fn load(plan: &Plan, reader: Option<Arc<Reader>>) -> Result<Certificates, StartError> {
        let mut shown = Vec::with_capacity(plan.tables.len());
        for table in &plan.tables {
            let loaded = load(table, plan.offers_http2, reader.as_deref()).map_err(StartError)?;
            shown.push(Shown::from(loaded));
        }
        put_in_force(plan, &shown);
        let offers = offers(&shown);
        let listener =
            |names: &Option<Names>| Some(Arc::new(Listener::new(Terms::new(names.as_ref()?.clone(), offers.clone()))));
        let listeners = plan.listeners.iter().map(listener).collect();
        let now = Instant::now();
        let plan = Arc::new(plan.clone());
        let certificates = Certificates { plan, listeners, shown, reader, last_look: now, last_reminder: now };
        (0..certificates.shown.len()).for_each(|place| certificates.warn_of(place));
        Ok(certificates)
    }

    /// For each listener, what it shows.
    pub(super) fn listeners(&self) -> Arc<[Option<Arc<Listener>>]> {
        self.listeners.clone()
    }

    /// What opens files that only root may read.
    pub(super) fn reader(&self) -> Option<&Arc<Reader>> {
        self.reader.as_ref()
    }

    /// Every certificate that is shown.
    pub(super) fn standing(&self) -> Vec<Standing> {
        let standing = |(table, shown): (&Options, &Shown)| Standing {
            file: table.certificate.display().to_string(),
            names: shown.facts.names.clone(),
            ends: shown.facts.ends,
        };
        self.plan.tables.iter().zip(&self.shown).map(standing).collect()
    }

    /// How long until the files should be looked at; none where there are none.
    pub(super) fn time_to_next_look(&self) -> Option<Duration> {
        let is_needed = !self.shown.is_empty();
        is_needed.then(|| (self.last_look + LOOK_PAUSE).saturating_duration_since(Instant::now()))
    }

    /// Looks at the files, when it is time to, and has new handshakes see what is in them. Gives whether something changed.
    pub(super) fn look(&mut self) -> bool {
        if self.time_to_next_look().is_none_or(|time| !time.is_zero()) {
            return false;
        }
        self.last_look = Instant::now();
        let plan = self.plan.clone();
        let mut is_renewed = false;
        for (place, table) in plan.tables.iter().enumerate() {
            is_renewed |= self.look_at(place, table);
        }
        if is_renewed {
            // Before what goes with them: who is met with an offer of before is never taken for one who is met with this.
            put_in_force(&plan, &self.shown);
            let offers = offers(&self.shown);
            self.listeners.iter().flatten().for_each(|listener| listener.renew(&offers));
        }
        if self.last_reminder.elapsed() >= REMINDER_PAUSE {
            self.last_reminder = Instant::now();
            (0..self.shown.len()).for_each(|place| self.warn_of(place));
        }
        is_renewed
    }

    fn look_at(&mut self, place: usize, table: &Options) -> bool {
        let stamps = Stamps::of(table, self.reader.as_deref());
        let shown = &mut self.shown[place];
        if stamps == shown.read_from {
            shown.broken = None;
            return false;
        }
        // Tried again all the same: what kept them from being read may have passed.
        let was_told = matches!(&shown.broken, Some((broken, true)) if *broken == stamps);
        match load(table, self.plan.offers_http2, self.reader.as_deref()) {
            Ok(loaded) => {
                let before = std::mem::replace(shown, Shown::from(loaded));
                let days = shown.facts.days_left(unix_seconds());
                tracing::info!("{}: read anew; the certificate ends in {days} days", table.certificate.display());
                if shown.number != before.number {
                    let file = table.clients.as_ref().map_or(Path::new(""), |clients| &clients.authorities);
                    tracing::info!("{}: other authorities; clients have to connect anew (421)", file.display());
                }
                self.warn_of(place);
                true
            }
            Err(why) => {
                // The files are written one by one: what is broken now may be whole a moment later.
                let is_same_as_before = matches!(&shown.broken, Some((broken, _)) if *broken == stamps);
                if is_same_as_before && !was_told {
                    tracing::error!("the certificate that was read before is shown on: {why}");
                }
                shown.broken = Some((stamps, is_same_as_before));
                false
            }
        }
    }

    /// Tells of what clients would not like about a certificate.
    fn warn_of(&self, place: usize) {
        let (Some(table), Some(shown)) = (self.plan.tables.get(place), self.shown.get(place)) else { return };
        let names = table.names.iter().map(String::as_str);
        for concern in shown.facts.concerns(names, unix_seconds()) {
            tracing::warn!("{}: {concern}", table.certificate.display());
        }
    }
}

/// Has sites ask for connections that were met with what is shown now.
fn put_in_force(plan: &Plan, shown: &[Shown]) {
    plan.in_force.iter().zip(shown).for_each(|(in_force, shown)| in_force.put(shown.number));
}

/// What is shown, with the number of each.
fn offers(shown: &[Shown]) -> Arc<[(TermsNumber, Offer)]> {
    shown.iter().map(|shown| (shown.number, shown.offer.clone())).collect()
}

/// What a table stands for, with what was seen of it.
pub(super) struct Loaded {
    number: TermsNumber,
    offer: Offer,
    pub(super) facts: Facts,
    stamps: Stamps,
}

const NUMBERS_EXHAUSTED: &str = "more sorts of `min_version`, `client_ca` and `client_verify` were in force since the start than can be \
                                told apart; restart the server";

/// Reads the files of one table. The error is one line: the file, the cause, the remedy.
pub(super) fn load(table: &Options, offers_http2: bool, reader: Option<&Reader>) -> Result<Loaded, String> {
    let say = |path: &Path, what: &str| format!("{}: {what}", path.display());
    // Looked at before they are read: what changes meanwhile is read once more.
    let stamps = Stamps::of(table, reader);
    let certificate = contents(&table.certificate, reader)?;
    let key = contents(&table.key, reader)?;
    let pair = Pair::read(&certificate, &key).map_err(|bad| match bad {
        BadPair::Certificate(what) => say(&table.certificate, &what),
        BadPair::Key(what) => say(&table.key, &what),
    })?;
    drop(key);
    let facts = Facts::of(&pair).map_err(|what| say(&table.certificate, &what))?;
    let authorities_file = table.clients.as_ref().map_or(Path::new(""), |clients| &clients.authorities);
    let authorities = match &table.clients {
        Some(_) => {
            let text = contents(authorities_file, reader)?;
            pair::certificates(&text).map_err(|what| say(authorities_file, &what))?
        }
        None => Vec::new(),
    };
    let offer = terms::offer(table, &pair, &authorities, offers_http2).map_err(|bad| match bad {
        BadOffer::Authorities(what) => say(authorities_file, &what),
        BadOffer::Certificate(what) => say(&table.certificate, &what),
    })?;
    let number = number_of(table, &authorities).ok_or_else(|| NUMBERS_EXHAUSTED.to_owned())?;
    Ok(Loaded { number, offer, facts, stamps })
}

/// The present, as Unix time.
pub(super) fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// What tells one version of the files of a table from another.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamps(Vec<Stamp>);

/// Device, inode, length, and times of modification and change; none where it cannot be opened.
type Stamp = Option<(u64, u64, i64, (i64, i64), (i64, i64))>;

impl Stamps {
    /// By what the paths lead to: clients of ACME put other links in their places.
    fn of(table: &Options, reader: Option<&Reader>) -> Stamps {
        let stamp = |path: &Path| {
            let file = open(path, reader).ok()?;
            let Stat { st_dev, st_ino, st_size, st_mtime, st_mtime_nsec, st_ctime, st_ctime_nsec, .. } =
                rustix::fs::fstat(&file).ok()?;
            Some((st_dev, st_ino, st_size, (st_mtime, st_mtime_nsec as i64), (st_ctime, st_ctime_nsec as i64)))
        };
        Stamps(table.files().map(stamp).collect())
    }
}

/// Bytes of a file that are read; chains have some ten thousand, a bundle of all public authorities has 250 KB.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Bytes that are read at once.
const READ_BYTES: usize = 64 * 1024;

/// Reads a file; what it was is overwritten when it is let go.
fn contents(path: &Path, reader: Option<&Reader>) -> Result<Zeroizing<Vec<u8>>, String> {
    let read = || {
        let file = open(path, reader)?;
        // As long as it is, so that no copy of a key is left behind where the buffer grew.
        let bytes = usize::try_from(file.metadata()?.len().min(FILE_BYTES_MAX)).unwrap_or(READ_BYTES);
        let mut text = Zeroizing::new(Vec::with_capacity(bytes + READ_BYTES));
        file.take(FILE_BYTES_MAX).read_to_end(&mut text)?;
        Ok(text)
    };
    read().map_err(|error: std::io::Error| format!("{}: {}", path.display(), unread(&error)))
}

/// Opens a file, or has it opened.
fn open(path: &Path, reader: Option<&Reader>) -> std::io::Result<File> {
    match (reader::open(path), reader) {
        (Ok(file), _) => Ok(File::from(file)),
        (Err(errno), Some(reader)) if std::io::Error::from(errno).kind() == ErrorKind::PermissionDenied => {
            reader.open(path)
        }
        (Err(errno), _) => Err(errno.into()),
    }
}

/// Why a file was not read, and the remedy.
fn unread(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => {
            "no such file; name the one that has it (for trials, `otus-httpd self-signed NAME` makes a certificate and its key)".to_owned()
        }
        ErrorKind::IsADirectory => "a directory; name the file in it".to_owned(),
        ErrorKind::PermissionDenied => {
            let user = privileges::whoami();
            format!(
                "permission denied to the user {user}; let its group read it (`chgrp`, `chmod 0640`), or have it copied where it is \
                 renewed (docs/https.md)"
            )
        }
        _ => format!("cannot be read: {error}"),
    }
}
