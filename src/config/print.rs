//! The configuration in force, as a configuration file.
//!
//! Invariant: what is printed can be read back, and then prints itself.

use super::Config;

impl Config {
    /// The configuration in force as a configuration file: the server's keys with their values, and the rest as
    /// it was written.
    pub fn to_toml(&self) -> String {
        let mut table = self.written.clone();
        let number = |number: u64| toml::Value::Integer(i64::try_from(number).unwrap_or(i64::MAX));
        for (key, value) in [
            ("workers", self.workers as u64),
            ("read_timeout", self.read_timeout.into()),
            ("keepalive_timeout", self.keepalive_timeout.into()),
            ("send_timeout", self.send_timeout.into()),
            ("drain_timeout", self.drain_timeout.into()),
            ("checkalive", self.checkalive.into()),
            ("head_bytes_max", self.head_bytes_max as u64),
            ("target_bytes_max", self.target_bytes_max as u64),
            ("cache_size", self.cache_size),
            ("cache_file_size_max", self.cache_file_size_max),
        ] {
            table.insert(key.to_owned(), number(value));
        }
        if let Some(root) = &self.typed_root {
            table.insert("root".to_owned(), root.display().to_string().into());
        }
        // With sites that have addresses of their own, each keeps its own.
        let mut sites: Vec<_> =
            table.get_mut("site").and_then(toml::Value::as_array_mut).into_iter().flatten().collect();
        if self.is_moved {
            // …unless the command line moved them all.
            sites.iter_mut().filter_map(|site| site.as_table_mut()).for_each(|site| drop(site.remove("listen")));
        }
        let has_own = |site: &&mut toml::Value| site.get("listen").is_some();
        if !sites.iter().any(has_own) {
            let listen: Vec<_> = self.listen.iter().map(|listen| toml::Value::from(listen.to_string())).collect();
            table.insert("listen".to_owned(), listen.into());
        }
        toml::to_string(&table).expect("what was read can be written")
    }
}
