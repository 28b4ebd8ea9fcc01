//! Asks clients who they are: password files as they are on disk now, and what was verified lately.
//!
//! Invariant: nobody passes whose password was not held against the hash that the file has now, in this process; a file
//! that cannot be read any more leaves the users that it had.

use super::password::{BadUsers, Credentials, Users, Verified};
use crate::storage::pool::{self, Lane};
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

/// The `basic_auth` of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasicAuth {
    /// The value of WWW-Authenticate (RFC 7617 §2).
    pub challenge: Box<str>,
    /// The file of names and hashes.
    pub file: Arc<Path>,
}

/// Why a `basic_auth` cannot be.
#[derive(Debug, thiserror::Error)]
pub enum BadAuth {
    /// It stands between quotes in a field.
    #[error("realm: only visible characters and spaces, without quotes and backslashes")]
    Realm,
    /// The file is not there, or not for the server to read.
    #[error("{path}: cannot be read: {error}; the server's user must be able to", path = .0.display(), error = .1)]
    Unreadable(PathBuf, std::io::Error),
    /// Its content.
    #[error("{path}: {bad}", path = .0.display(), bad = .1)]
    Users(PathBuf, BadUsers),
}

impl BasicAuth {
    /// Asks for the users of `file`, in the name of `realm`.
    pub fn new(realm: &str, file: &Path) -> Result<BasicAuth, BadAuth> {
        if realm.bytes().any(|b| !(b' '..=b'~').contains(&b) || b == b'"' || b == b'\\') {
            return Err(BadAuth::Realm);
        }
        // RFC 7617 §2.1: names and passwords come in UTF-8.
        let challenge = format!("Basic realm=\"{realm}\", charset=\"UTF-8\"");
        Ok(BasicAuth { challenge: challenge.into(), file: Arc::from(file) })
    }

    /// The users in the file. Blocks: for start-up and the pool.
    pub fn read(&self) -> Result<Users, BadAuth> {
        read(&self.file).map(|(users, _)| users)
    }
}

/// Whether a client may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// It may.
    Granted,
    /// It named nobody, or the wrong password.
    Denied,
    /// Too many are being asked: it may try again.
    Busy,
}

/// The password files of one core.
pub struct Gate {
    files: RefCell<HashMap<Arc<Path>, PasswordFile>>,
    verified: Verified,
}

struct PasswordFile {
    users: Rc<Users>,
    version: Version,
    /// The last failure to read it, so that it is told once.
    broken: bool,
}

/// Tells one content of a file from the next.
type Version = (SystemTime, u64);

impl Default for Gate {
    fn default() -> Gate {
        Gate { files: RefCell::default(), verified: Verified::new() }
    }
}

impl Gate {
    /// Reads the file of `auth`. Blocks: for start-up.
    pub fn open(&self, auth: &BasicAuth) -> Result<(), String> {
        let (users, version) = read(&auth.file).map_err(|bad| bad.to_string())?;
        let file = PasswordFile { users: Rc::new(users), version, broken: false };
        self.files.borrow_mut().insert(auth.file.clone(), file);
        Ok(())
    }

    /// Whether the client with this Authorization may pass. A password that was not verified lately is checked in
    /// `lane`, for that takes long, by design.
    pub async fn pass(&self, auth: &BasicAuth, authorization: Option<&[u8]>, lane: &Lane, tick: u64) -> Pass {
        let Some(Credentials { name, password }) = authorization.and_then(Credentials::parse_basic) else {
            return Pass::Denied;
        };
        let Some(users) = self.files.borrow().get(&auth.file).map(|file| file.users.clone()) else {
            return Pass::Denied;
        };
        let hash = users.hash_of(&name).to_owned();
        let key = self.verified.key(&hash, &password);
        if self.verified.remembered(key, tick) {
            return Pass::Granted;
        }
        match lane.run(move || Users::verify(&hash, &password)).await {
            None => Pass::Busy,
            Some(true) => {
                self.verified.remember(key, tick);
                Pass::Granted
            }
            Some(false) => Pass::Denied,
        }
    }

    /// Reads anew what changed on disk; called about once a second.
    pub async fn refresh(&self) {
        let known: Vec<_> = self.files.borrow().iter().map(|(path, file)| (path.clone(), file.version)).collect();
        for (path, version) in known {
            let at = path.clone();
            let outcome =
                pool::run(move || if version_of(&at).ok() == Some(version) { None } else { Some(read(&at)) }).await;
            let mut files = self.files.borrow_mut();
            let Some(file) = files.get_mut(&path) else { continue };
            match outcome {
                None => file.broken = false,
                Some(Ok((users, version))) => {
                    tracing::info!("{}: read anew", path.display());
                    *file = PasswordFile { users: Rc::new(users), version, broken: false };
                }
                Some(Err(bad)) if !file.broken => {
                    tracing::error!("{bad}; the users that it had before may still pass");
                    file.broken = true;
                }
                Some(Err(_)) => {}
            }
        }
    }
}

/// The name in these credentials, for the log; empty where there is none.
pub fn user_of(authorization: Option<&[u8]>) -> String {
    authorization.and_then(Credentials::parse_basic).map(|credentials| credentials.name).unwrap_or_default()
}

fn version_of(path: &Path) -> std::io::Result<Version> {
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.modified()?, metadata.len()))
}

fn read(path: &Path) -> Result<(Users, Version), BadAuth> {
    let unreadable = |error| BadAuth::Unreadable(path.to_owned(), error);
    // Asked first: a change in between is seen at the next look.
    let version = version_of(path).map_err(unreadable)?;
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let users = Users::parse(&text).map_err(|bad| BadAuth::Users(path.to_owned(), bad))?;
    Ok((users, version))
}
