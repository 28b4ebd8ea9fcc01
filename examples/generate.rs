//! Writes what is made from the definitions of keys and options: the manual pages, the sample configuration and the
//! completions of shells, all below packaging/.
//!
//! Invariant: the same source writes the same bytes.

use clap::CommandFactory;
use clap_complete::Shell;
use otus_httpd::cli::Args;
use otus_httpd::config::{manual, sample};
use std::path::Path;

fn main() -> std::io::Result<()> {
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging");
    let mut outputs = vec![
        ("man/otus-httpd.8", manual::program_page().into_bytes()),
        ("man/otus-httpd.conf.5", manual::file_page().into_bytes()),
        ("etc/otus-httpd.conf", sample::sample().into_bytes()),
    ];
    for (path, shell) in [
        ("completions/otus-httpd.bash", Shell::Bash),
        ("completions/_otus-httpd", Shell::Zsh),
        ("completions/otus-httpd.fish", Shell::Fish),
    ] {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut Args::command(), "otus-httpd", &mut text);
        outputs.push((path, text));
    }
    for (path, text) in outputs {
        let path = packaging.join(path);
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        std::fs::write(&path, text)?;
        println!("{}", path.display());
    }
    Ok(())
}
