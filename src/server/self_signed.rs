//! `otus-httpd self-signed`: a certificate and its key as files.
//!
//! Order: the files are made, that of the key for its owner alone · what was made is written · what to do with it is said.
//!
//! Invariant: a file that is there already is never written over.

use crate::tls::self_signed::self_signed;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Makes both files, named after the first name, and gives what there is to say of them.
pub fn make(names: &[String], directory: Option<&Path>, days: u32) -> Result<String, String> {
    let made = self_signed(names, days)?;
    let key = Zeroizing::new(made.key);
    // A star would be more than a name to a shell, and a colon stands in addresses.
    let stem = names.first().map_or("server", String::as_str).replace(['*', ':'], "_");
    let directory = std::path::absolute(directory.unwrap_or(Path::new("."))).map_err(|error| error.to_string())?;
    let [certificate_path, key_path] = ["crt", "key"].map(|ending| directory.join(format!("{stem}.{ending}")));
    let mut certificate_file = create(&certificate_path, 0o644)?;
    let mut key_file = create(&key_path, 0o600).inspect_err(|_| remove(&certificate_path))?;
    let written =
        certificate_file.write_all(made.certificate.as_bytes()).and_then(|()| key_file.write_all(key.as_bytes()));
    written.map_err(|error| {
        remove(&certificate_path);
        remove(&key_path);
        format!("{}: cannot be written: {error}", directory.display())
    })?;
    Ok(format!(
        "{certificate}: a certificate for {names}, for {days} days\n{key}: its key, which nobody else may read\n\n\
         # For the configuration; the address goes to the others of `listen`:\nlisten = [\"443 tls\"]\n\n[tls]\n\
         certificate = \"{certificate}\"\nkey = \"{key}\"\n\n\
         # The service of the packages serves as otus-httpd, which has to read the key:\n\
         #   chgrp otus-httpd {key} && chmod 640 {key}\n",
        certificate = certificate_path.display(),
        key = key_path.display(),
        names = names.join(", "),
    ))
}

fn create(path: &PathBuf, mode: u32) -> Result<File, String> {
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(|error| {
        let path = path.display();
        match error.kind() {
            ErrorKind::AlreadyExists => {
                format!("{path}: it is there already; move it away, or name another directory with --out")
            }
            _ => format!("{path}: cannot be made: {error}"),
        }
    })
}

/// What was made in vain; there is nothing more to do where that fails too.
fn remove(path: &Path) {
    let _ = std::fs::remove_file(path);
}
