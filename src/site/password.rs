//! Names and passwords: htpasswd files and Basic authentication (RFC 7617).
//!
//! Order: the credentials of a request · the hash that its user has, or a stand-in · what was
//! verified lately · the slow verification, for the blocking pool.
//!
//! Invariant: a [`Key`] is in [`Verified`] only after [`Users::verify`] held for the hash and the
//! password it was made of; both decide a key, so that a changed file needs no notice.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

/// The content of an htpasswd file.
#[derive(Clone)]
pub struct Users {
    hashes: HashMap<String, String>,
    /// Of nobody's password, and as slow as the others.
    stand_in: String,
}

/// Why an htpasswd file was refused, with the remedy. A hash is never repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUsers {
    /// A line without a colon, or without a name in front of it.
    #[error("line {line}: expected `name:hash`; make the line anew with `htpasswd -B`")]
    NoEntry {
        /// Counted from 1.
        line: usize,
    },
    /// A name that no request can have.
    #[error(
        "line {line}: the name has a control character in it, or more than {NAME_BYTES_MAX} bytes; rename the user"
    )]
    Name {
        /// Counted from 1.
        line: usize,
    },
    /// A second entry for a name.
    #[error("line {line}: {name:?} stands in a line above too; remove one of both")]
    Repeated {
        /// Counted from 1.
        line: usize,
        /// The name of the user.
        name: String,
    },
    /// A hash that is quick to guess, or a password as it is.
    #[error("line {line}: the password of {name:?} is {kind}, and only bcrypt is safe; set it anew with `htpasswd -B`")]
    NotBcrypt {
        /// Counted from 1.
        line: usize,
        /// The name of the user.
        name: String,
        /// What it is instead.
        kind: &'static str,
    },
    /// It begins as bcrypt does, and is cut or changed.
    #[error("line {line}: the bcrypt hash of {name:?} is damaged; set the password anew with `htpasswd -B`")]
    Damaged {
        /// Counted from 1.
        line: usize,
        /// The name of the user.
        name: String,
    },
    /// A cost above [`COST_MAX`].
    #[error("line {line}: the hash of {name:?} has a cost above {COST_MAX}; set it anew with `htpasswd -B -C 12`")]
    Cost {
        /// Counted from 1.
        line: usize,
        /// The name of the user.
        name: String,
    },
}

/// The most that `htpasswd -C` takes: each step doubles the time, and this is seconds already.
pub const COST_MAX: u32 = 17;

/// The most that `htpasswd` takes.
pub const NAME_BYTES_MAX: usize = 255;

/// The most that `htpasswd` takes. Of a longer one than 72 bytes bcrypt reads no more than those,
/// here as with other servers.
pub const PASSWORD_BYTES_MAX: usize = 255;

/// For a file without users: none of them could be told from others by time.
const COST_OF_NOBODY: u32 = 10;

/// Salt and hash of the stand-in: a hash of zeros, for which nobody knows a password.
const STAND_IN: &str = "abcdefghijklmnopqrstuu...............................";

impl Users {
    /// Reads `name:hash` lines. Empty lines and those that begin with `#` are left out, and so is
    /// what stands behind a second colon.
    pub fn parse(text: &str) -> Result<Users, BadUsers> {
        let mut hashes = HashMap::new();
        let mut cost_max = None;
        for (line, entry) in (1..).zip(text.lines()) {
            if entry.trim().is_empty() || entry.starts_with('#') {
                continue;
            }
            let (name, rest) =
                entry.split_once(':').filter(|(name, _)| !name.is_empty()).ok_or(BadUsers::NoEntry { line })?;
            if name.len() > NAME_BYTES_MAX || name.bytes().any(|b| b.is_ascii_control()) {
                return Err(BadUsers::Name { line });
            }
            let hash = rest.split(':').next().unwrap_or("").trim_end();
            let cost = parse_hash(hash).map_err(|bad| bad.at(line, name))?;
            cost_max = cost_max.max(Some(cost));
            if hashes.insert(name.to_owned(), hash.to_owned()).is_some() {
                return Err(BadUsers::Repeated { line, name: name.to_owned() });
            }
        }
        let cost = cost_max.unwrap_or(COST_OF_NOBODY);
        Ok(Users { hashes, stand_in: format!("$2y${cost:02}${STAND_IN}") })
    }

    /// The hash of a user's password. A name that is unknown has one too, which no password fits
    /// and which takes the time of the slowest in the file, so that names cannot be found out by
    /// the clock.
    pub fn hash_of(&self, name: &str) -> &str {
        self.hashes.get(name).unwrap_or(&self.stand_in)
    }

    /// Whether a password fits a hash of [`Users::hash_of`]. It takes long, by design: up to
    /// seconds, so that no core may wait for it.
    pub fn verify(hash: &str, password: &[u8]) -> bool {
        bcrypt::verify(password, hash).unwrap_or(false)
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Users({} names)", self.hashes.len())
    }
}

/// Why a hash was refused, before it is known where it stood.
enum BadHash {
    NotBcrypt(&'static str),
    Damaged,
    Cost,
}

impl BadHash {
    fn at(self, line: usize, name: &str) -> BadUsers {
        let name = name.to_owned();
        match self {
            BadHash::NotBcrypt(kind) => BadUsers::NotBcrypt { line, name, kind },
            BadHash::Damaged => BadUsers::Damaged { line, name },
            BadHash::Cost => BadUsers::Cost { line, name },
        }
    }
}

/// The cost of a bcrypt hash.
fn parse_hash(hash: &str) -> Result<u32, BadHash> {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| hash.starts_with(prefix));
    if starts(&["$2a$", "$2b$", "$2y$"]) {
        let parts: bcrypt::HashParts = hash.parse().map_err(|_| BadHash::Damaged)?;
        return match parts.get_cost() {
            4..=COST_MAX => Ok(parts.get_cost()),
            0..4 => Err(BadHash::Damaged),
            _ => Err(BadHash::Cost),
        };
    }
    Err(BadHash::NotBcrypt(match hash {
        "" => "empty",
        _ if starts(&["$2"]) => "a bcrypt hash of a broken kind",
        _ if starts(&["$apr1$", "$1$"]) => "an MD5 hash",
        _ if starts(&["{SHA}", "{SSHA}"]) => "a SHA-1 hash",
        _ if starts(&["$"]) => "a hash of another kind",
        _ => "plain text or a crypt hash",
    }))
}

/// What a client says it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user-id: without a colon or a control.
    pub name: String,
    /// The password: any bytes but controls.
    pub password: Vec<u8>,
}

/// What `name:password` at their longest take in base64.
const ENCODED_BYTES_MAX: usize = (NAME_BYTES_MAX + 1 + PASSWORD_BYTES_MAX).div_ceil(3) * 4;

impl Credentials {
    /// Reads the value of an Authorization field; `None` if it is of another scheme or malformed,
    /// for which the answer is the same 401.
    pub fn parse_basic(value: &[u8]) -> Option<Credentials> {
        let space = memchr::memchr(b' ', value)?;
        let (scheme, token) = (&value[..space], value[space..].trim_ascii());
        // RFC 9110 §11.1: the scheme is case-insensitive.
        if !scheme.eq_ignore_ascii_case(b"Basic") || token.len() > ENCODED_BYTES_MAX {
            return None;
        }
        let decoded = STANDARD.decode(token).ok()?;
        // RFC 7617 §2: neither part has a control; bcrypt would take a NUL for the end.
        if decoded.iter().any(u8::is_ascii_control) {
            return None;
        }
        let colon = memchr::memchr(b':', &decoded)?;
        let (name, password) = (&decoded[..colon], &decoded[colon + 1..]);
        if name.len() > NAME_BYTES_MAX || password.len() > PASSWORD_BYTES_MAX {
            return None;
        }
        // RFC 7617 §2.1: the challenge says UTF-8, and the file is UTF-8.
        let name = std::str::from_utf8(name).ok()?.to_owned();
        Some(Credentials { name, password: password.to_vec() })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({:?})", self.name)
    }
}

/// What was verified lately on this core, so that bcrypt is not asked again for each request.
/// Failures are not remembered: guessing stays slow, and cannot push out what is true.
pub struct Verified {
    /// Two hashers, each with a random key of its own: 128 bits, and nothing to learn from them.
    hashers: [RandomState; 2],
    /// With the tick at which each is forgotten.
    entries: RefCell<HashMap<Key, u64>>,
}

/// Stands for a hash and a password that were held against each other.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key([u64; 2]);

/// Users that are active at once; with more, those whose time is nearest are asked for anew.
pub const ENTRIES_MAX: usize = 1024;

/// Ticks, of about a second, for which a verification is good.
pub const REMEMBERED_TICKS: u64 = 300;

impl Verified {
    /// Remembers nothing yet.
    #[expect(clippy::new_without_default, reason = "each has keys of its own; there is no usual one")]
    pub fn new() -> Verified {
        Verified { hashers: [RandomState::new(), RandomState::new()], entries: RefCell::default() }
    }

    /// The key of a hash of [`Users::hash_of`] and a password.
    pub fn key(&self, hash: &str, password: &[u8]) -> Key {
        // A tuple of both hashes their lengths too, so that nothing moves from one to the other.
        Key([self.hashers[0].hash_one((hash, password)), self.hashers[1].hash_one((hash, password))])
    }

    /// Whether it was verified less than [`REMEMBERED_TICKS`] ago.
    pub fn remembered(&self, key: Key, now_tick: u64) -> bool {
        self.entries.borrow().get(&key).is_some_and(|forgotten_tick| now_tick < *forgotten_tick)
    }

    /// Remembers that [`Users::verify`] held.
    pub fn remember(&self, key: Key, now_tick: u64) {
        let mut entries = self.entries.borrow_mut();
        if entries.len() >= ENTRIES_MAX && !entries.contains_key(&key) {
            entries.retain(|_, forgotten_tick| now_tick < *forgotten_tick);
            // A look at each is nothing beside the verification that was just done.
            let oldest = entries.iter().min_by_key(|(_, forgotten_tick)| **forgotten_tick).map(|(key, _)| *key);
            if let Some(oldest) = oldest.filter(|_| entries.len() >= ENTRIES_MAX) {
                entries.remove(&oldest);
            }
        }
        entries.insert(key, now_tick.saturating_add(REMEMBERED_TICKS));
        debug_assert!(entries.len() <= ENTRIES_MAX);
    }
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verified({} entries)", self.entries.borrow().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made by htpasswd -B and by crypt(3), with the lowest cost.
    const SECRET_2Y: &str = "$2y$04$PLMkgcyO4XLf3LRry8NdnulQCY1LMGj7osfY.tTC/hwSG7t1tDXHy";
    const SECRET_2B: &str = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";
    const SECRET_2A: &str = "$2a$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";
    const EMPTY: &str = "$2y$04$HCPsfCndrjmxr9FGybVYaOVfYmM0zStiPtvZoQsuRbgKbYqFtmQ/u";
    const UMLAUT: &str = "$2y$04$7ETpARvz9avN9gWwuoPC8uy7VfoCD6oQVTus2Q9wgqv9wd0s6lZDu";
    const X_80_TIMES: &str = "$2y$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i";

    #[test]
    fn passwords_fit_the_hashes_of_other_programs() {
        for (hash, password, expected) in [
            (SECRET_2Y, "secret", true),
            (SECRET_2B, "secret", true),
            (SECRET_2A, "secret", true),
            (SECRET_2Y, "Secret", false),
            (SECRET_2Y, "secret ", false),
            (SECRET_2Y, "", false),
            (SECRET_2Y, SECRET_2Y, false),
            (EMPTY, "", true),
            (EMPTY, "a", false),
            (UMLAUT, "pässword", true),
            (UMLAUT, "pa\u{308}ssword", false),
            // bcrypt reads 72 bytes
            (X_80_TIMES, &"x".repeat(80), true),
            (X_80_TIMES, &"x".repeat(72), true),
            (X_80_TIMES, &"x".repeat(71), false),
            // What is no hash fits nothing
            ("", "", false),
            ("secret", "secret", false),
        ] {
            assert_eq!(Users::verify(hash, password.as_bytes()), expected, "{hash} and {password}");
        }
    }

    #[test]
    fn files_are_read() {
        let text = format!("# staff\r\n\nann:{SECRET_2Y}\r\n \nbob:{EMPTY}:a comment\njörg b:{UMLAUT}  \n#ann:x\n");
        let users = Users::parse(&text).expect("a valid file");
        for (name, expected) in [("ann", SECRET_2Y), ("bob", EMPTY), ("jörg b", UMLAUT)] {
            assert_eq!(users.hash_of(name), expected, "{name}");
        }
        let (twelve, four) = (SECRET_2Y.replace("$04$", "$12$"), SECRET_2B);
        for (text, cost) in
            [(String::new(), "$10$"), (text, "$04$"), (format!("a:{four}\nb:{twelve}\nc:{four}"), "$12$")]
        {
            // Unknown names have a hash that works as the others do, and fits nothing.
            let users = Users::parse(&text).expect("a valid file");
            for name in ["", "Ann", "ann ", "root", "# staff"] {
                let hash = users.hash_of(name);
                assert!(hash.starts_with("$2y$") && hash[3..].starts_with(cost), "{name:?}: {hash}");
                assert!(parse_hash(hash).is_ok(), "{hash}");
            }
        }
        let nobody = Users::parse(&format!("ann:{SECRET_2Y}")).expect("a valid file").hash_of("bob").to_owned();
        ["", "secret", &nobody].iter().for_each(|password| assert!(!Users::verify(&nobody, password.as_bytes())));
    }

    #[test]
    fn files_that_are_refused() {
        let bad = |hash: &str| format!("# a line\nann:{hash}");
        for (text, expected) in [
            ("ann".to_owned(), "line 1: expected `name:hash`"),
            (format!(":{SECRET_2Y}"), "line 1: expected `name:hash`"),
            (format!("a\tb:{SECRET_2Y}"), "line 1: the name has a control character"),
            (format!("{}:{SECRET_2Y}", "a".repeat(256)), "line 1: the name has a control character"),
            (format!("ann:{SECRET_2Y}\n\nann:{EMPTY}"), "line 3: \"ann\" stands in a line above too"),
            (
                bad(""),
                "line 2: the password of \"ann\" is empty, and only bcrypt is safe; set it anew with `htpasswd -B`",
            ),
            (bad("$apr1$UWtZmNhe$pWe93BPn0TPfGV50AhRu4."), "line 2: the password of \"ann\" is an MD5 hash"),
            (bad("$1$UWtZmNhe$pWe93BPn0TPfGV50AhRu4."), "line 2: the password of \"ann\" is an MD5 hash"),
            (bad("{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="), "line 2: the password of \"ann\" is a SHA-1 hash"),
            (bad("{SSHA}5en6G6MezRroT3XKqkdPOmY/BfQ="), "line 2: the password of \"ann\" is a SHA-1 hash"),
            (bad("P0RJ38Bsy1N5I"), "line 2: the password of \"ann\" is plain text or a crypt hash"),
            (bad("secret"), "line 2: the password of \"ann\" is plain text or a crypt hash"),
            (
                bad("$5$62K1CtAKxAm1z1nb$n8hilR2JO36tgRRIkDIY9rZU7L3"),
                "line 2: the password of \"ann\" is a hash of another",
            ),
            (bad("$argon2id$v=19$m=65536"), "line 2: the password of \"ann\" is a hash of another kind"),
            (bad(&SECRET_2Y.replace("2y", "2x")), "line 2: the password of \"ann\" is a bcrypt hash of a broken kind"),
            (bad(&SECRET_2Y[..59]), "line 2: the bcrypt hash of \"ann\" is damaged"),
            (bad(&SECRET_2Y.replace('P', "!")), "line 2: the bcrypt hash of \"ann\" is damaged"),
            (bad(&SECRET_2Y.replace("$04$", "$03$")), "line 2: the bcrypt hash of \"ann\" is damaged"),
            (bad(&SECRET_2Y.replace("$04$", "$18$")), "line 2: the hash of \"ann\" has a cost above 17"),
            (bad(&SECRET_2Y.replace("$04$", "$99$")), "line 2: the hash of \"ann\" has a cost above 17"),
        ] {
            let error = Users::parse(&text).expect_err(&text).to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
            assert!(!error.contains('\n'), "{error}");
            assert!(!error.contains(SECRET_2Y), "{error}");
        }
    }

    #[test]
    fn basic_credentials() {
        let encoded = |text: &[u8]| format!("Basic {}", STANDARD.encode(text));
        let check = |value: &str, expected: Option<(&str, &[u8])>| {
            let found = Credentials::parse_basic(value.as_bytes());
            let found = found.as_ref().map(|found| (found.name.as_str(), &found.password[..]));
            assert_eq!(found, expected, "{value}");
        };
        // The examples of RFC 7617 §2 and §2.1
        check("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", Some(("Aladdin", b"open sesame")));
        check("Basic dGVzdDoxMjPCow==", Some(("test", "123£".as_bytes())));
        check("bAsIc   QWxhZGRpbjpvcGVuIHNlc2FtZQ== ", Some(("Aladdin", b"open sesame")));
        let (longest, longer) = ("a".repeat(255), "a".repeat(256));
        for (text, expected) in [
            (&b"a:b:c:"[..], Some(("a", &b"b:c:"[..]))),
            (b":", Some(("", b""))),
            (b"a:", Some(("a", b""))),
            ("jörg:ä".as_bytes(), Some(("jörg", "ä".as_bytes()))),
            (b"a:\xff\xfe", Some(("a", b"\xff\xfe"))),
            (b"\xff:a", None),
            (b"a", None),
            (b"", None),
            (b"a:b\0c", None),
            (b"a\n:b", None),
            (b"a:\x7f", None),
            (format!("{longest}:{longest}").as_bytes(), Some((&longest, longest.as_bytes()))),
            (format!("{longer}:").as_bytes(), None),
            (format!(":{longer}").as_bytes(), None),
            (&[b'a'; 600], None),
        ] {
            check(&encoded(text), expected);
        }
        for value in [
            "",
            " ",
            "Basic",
            "Basic ",
            "Basic =",
            "Basic QQ",
            "Basic YTpi!",
            "Basic YTpi YTpi",
            "Basic YTo",
            "Basic YTp=",
            "Basic YTo_",
            "Basic\tYTpi",
            "BasicYTpi",
            "Bearer YTpi",
            " Basic YTpi",
            "Basic YTpi,",
            "Basic YTpiYQ===",
        ] {
            check(value, None);
        }
        let credentials = Credentials::parse_basic(b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==").expect("a valid value");
        assert_eq!(format!("{credentials:?}"), "Credentials(\"Aladdin\")");
    }

    #[test]
    fn what_was_verified_is_remembered_for_a_while() {
        let verified = Verified::new();
        let key = verified.key(SECRET_2Y, b"secret");
        assert!(key == verified.key(SECRET_2Y, b"secret"));
        assert!(!verified.remembered(key, 0));
        verified.remember(key, 7);
        for (tick, expected) in [(7, true), (8, true), (306, true), (307, false), (u64::MAX, false)] {
            assert_eq!(verified.remembered(key, tick), expected, "{tick}");
        }
        verified.remember(key, 307);
        assert!(verified.remembered(key, 606));
        // Another password, another hash, a moved border, another core.
        for (hash, password) in [(SECRET_2Y, &b"Secret"[..]), (SECRET_2B, b"secret"), (&SECRET_2Y[..59], b"ysecret")] {
            assert!(!verified.remembered(verified.key(hash, password), 400), "{hash}");
        }
        assert!(Verified::new().key(SECRET_2Y, b"secret") != key);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let verified = Verified::new();
        let key = |number: u64| verified.key(SECRET_2Y, &number.to_le_bytes());
        let known = |tick: u64| (0..3000).filter(|number| verified.remembered(key(*number), tick)).count();
        (0..2000).for_each(|number| verified.remember(key(number), number / 100));
        assert_eq!(known(20), ENTRIES_MAX);
        assert!(!verified.remembered(key(0), 20), "the oldest went first");
        assert!(verified.remembered(key(1999), 20));
        verified.remember(key(1999), 21);
        assert_eq!(known(21), ENTRIES_MAX, "one that is known takes no other's place");
        verified.remember(key(2999), 1000);
        assert_eq!((known(1000), verified.entries.borrow().len()), (1, 1), "those past their time went");
    }
}
