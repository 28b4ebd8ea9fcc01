//! The keys of sites: what may stand at the top, in a `[[site]]`, and in a `[[location]]`.

use super::limits;
use super::table::{Problem, Table, Value, World};
use super::tls::{self, Certificate};
use crate::http::coding::Coding;
use crate::http::media_type;
use crate::site::access::AddressRules;
use crate::site::cors::Cors;
use crate::site::error_page::ErrorPages;
use crate::site::gate::BasicAuth;
use crate::site::header::{Change, FieldLine, HeaderRule};
use crate::site::hosts::Hosts;
use crate::site::lifetime::{Lifetime, Lifetimes, Scope};
use crate::site::pattern::Pattern;
use crate::site::policy::{Autoindex, Hidden, Location, PolicyKeys};
use crate::site::rule::{Redirect, Rewrite};
use crate::site::try_files::Candidate;
use crate::storage::root::Symlinks;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// Keys that may stand in a `[[site]]` beside those of [`super::keys::SITE`].
const OF_SITE: [&str; 4] = ["server_name", "listen", "tls", "location"];

/// One `[[site]]` as it is written.
pub(super) struct Written<'a> {
    pub(super) names: Vec<String>,
    /// The value of `server_name`, for messages.
    pub(super) named_at: Option<Value<'a>>,
    pub(super) listen: Option<Value<'a>>,
    /// Its certificate.
    pub(super) tls: Option<Certificate>,
    /// Where it says that clients are to come by HTTPS.
    pub(super) redirected_at: Option<Value<'a>>,
    pub(super) keys: PolicyKeys,
    pub(super) locations: Vec<Location>,
}

/// Sites, and locations of a site, that are told apart.
const LOCATIONS_MAX: usize = 10_000;

/// Reads one `[[site]]`.
pub(super) fn site(value: Value<'_>, number: usize) -> Result<Written<'_>, Problem> {
    let known: Vec<&str> = super::keys::names(super::keys::SITE).chain(OF_SITE).collect();
    let servers: Vec<&str> = super::keys::names(super::keys::SERVER).collect();
    let table = Table::new(
        value.entries()?,
        &known,
        &[(&servers, "to the whole server, above the first [[site]]")],
        value.world(),
    )?;
    let named_at = table.get("server_name");
    let names = named_at.map(|value| value.texts()).transpose()?.unwrap_or_default();
    if let Some(value) = named_at {
        Hosts::new([(0, &names[..])]).map_err(|bad| value.wrong(bad))?;
    }
    // As it was at the last reload, though sites before it came or went.
    let place = if names.is_empty() { format!("site {number}") } else { names.join(" ") };
    let server_name = names.first().map(|name| Arc::from(name.as_str()));
    let keys = PolicyKeys { server_name, ..keys(&table, &place)? };
    Ok(Written {
        names,
        named_at,
        listen: table.get("listen"),
        redirected_at: table.get("redirect_https"),
        tls: table.read("tls", tls::certificate)?.flatten(),
        keys,
        locations: locations(&table, &place)?,
    })
}

/// The locations of a table, which is known as `place`.
pub(super) fn locations(table: &Table<'_>, place: &str) -> Result<Vec<Location>, Problem> {
    let Some(value) = table.get("location") else { return Ok(Vec::new()) };
    let known: Vec<&str> = super::keys::names(super::keys::SITE).chain(["path"]).collect();
    let elsewhere: [(&[&str], &str); 1] = [(&OF_SITE, "to a whole [[site]]")];
    let mut locations = Vec::new();
    for one in value.list()? {
        let table = Table::new(one.entries()?, &known, &elsewhere, one.world())?;
        let path = table.required("path", one.span())?;
        let place = format!("{place}\n{}", path.text()?);
        let path = Pattern::parse_glob(path.text()?).map_err(|bad| path.wrong(bad))?;
        locations.push(Location { path, keys: keys(&table, &place)? });
        if locations.len() > LOCATIONS_MAX {
            return Err(value.wrong(format!("more than {LOCATIONS_MAX} locations")));
        }
    }
    Ok(locations)
}

/// The site keys of a table, which is known as `place`.
pub(super) fn keys(table: &Table<'_>, place: &str) -> Result<PolicyKeys, Problem> {
    let number = |least, most| move |value: Value<'_>| value.number(least, most).map(to_usize);
    Ok(PolicyKeys {
        root: table.read("root", |value| Ok(Some(Arc::from(Path::new(value.text()?)))))?,
        index: table.read("index", index)?,
        autoindex: table.read("autoindex", |value| {
            value.one_of(&[
                ("off", Autoindex::Off),
                ("html", Autoindex::Html),
                ("json", Autoindex::Json),
                ("auto", Autoindex::Auto),
            ])
        })?,
        autoindex_entries_max: table.read("autoindex_entries_max", number(1, 1_000_000))?,
        try_files: table.read("try_files", try_files)?,
        redirect: table.read("redirect", |value| value.one_or_list().into_iter().map(redirect).collect())?,
        rewrite: table.read("rewrite", |value| value.one_or_list().into_iter().map(rewrite).collect())?,
        headers: table.read("headers", |value| value.one_or_list().into_iter().map(header_rule).collect())?,
        cache_control: table.read("cache_control", |value| lifetimes(value, cache_control))?,
        expires: table.read("expires", |value| lifetimes(value, expires))?,
        cors: table.read("cors", |value| or_off(value, cors))?,
        basic_auth: table.read("basic_auth", |value| or_off(value, basic_auth))?,
        addresses: addresses(table)?,
        hidden: table.read("hidden", |value| value.one_of(&[("deny", Hidden::Deny), ("allow", Hidden::Allow)]))?,
        symlinks: table.read("symlinks", |value| {
            value.one_of(&[("beneath", Symlinks::Beneath), ("deny", Symlinks::Deny), ("follow", Symlinks::Follow)])
        })?,
        precompressed: table.read("precompressed", codings)?,
        compress: table.read("compress", codings)?,
        types: table.read("types", types)?,
        default_type: table.read("default_type", |value| read_media_type(value).map(Arc::from))?,
        charset: table.read("charset", charset)?,
        nosniff: table.read("nosniff", |value| value.boolean())?,
        etag: table.read("etag", |value| value.boolean())?,
        max_ranges: table.read("max_ranges", number(0, RANGES_CEILING))?,
        error_page: table.read("error_page", error_pages)?,
        access_log: table.read("access_log", super::access_log::access_logs)?,
        server_name: None,
        https: None,
        redirect_https: table.read("redirect_https", |value| value.boolean())?,
        limit_rate: table.read("limit_rate", limits::rate)?,
        limit_rate_after: table.read("limit_rate_after", super::general::bytes)?,
        limit_requests: table.read("limit_requests", |value| limits::requests(value, place))?,
    })
}

/// A head of the usual limit names few more.
const RANGES_CEILING: u64 = 1000;

fn to_usize(number: u64) -> usize {
    usize::try_from(number).expect("the key's range fits")
}

/// `off`, or what `read` makes of the value.
fn or_off<'a, T>(value: Value<'a>, read: fn(Value<'a>) -> Result<T, Problem>) -> Result<Option<Arc<T>>, Problem> {
    if value.is_text() {
        return value.one_of(&[("off", ())]).map(|()| None);
    }
    read(value).map(|one| Some(Arc::new(one)))
}

fn index(value: Value<'_>) -> Result<Arc<[String]>, Problem> {
    let names = value.texts()?;
    let is_bad = |name: &&String| name.is_empty() || name.contains(['/', '\0']) || name.starts_with('.');
    match names.iter().find(is_bad) {
        Some(name) => Err(value.wrong(format!("{name:?} is not the name of a file in a directory"))),
        None => Ok(names.into()),
    }
}

fn try_files(value: Value<'_>) -> Result<Arc<[Candidate]>, Problem> {
    let parse = |value: Value<'_>| Candidate::parse(value.text()?).map_err(|bad| value.wrong(bad));
    let list = value.list()?.map(parse).collect::<Result<Vec<_>, _>>()?;
    Candidate::check(&list).map_err(|bad| value.wrong(bad))?;
    Ok(list.into())
}

fn redirect(value: Value<'_>) -> Result<Redirect, Problem> {
    let table = value.table(&["from", "to", "status"])?;
    let status = table.read("status", |value| value.number(300, 399))?.unwrap_or(301);
    let status = u16::try_from(status).expect("three digits fit");
    let (from, to) = (table.required("from", value.span())?, table.required("to", value.span())?);
    Redirect::parse(from.text()?, to.text()?, status).map_err(|bad| value.wrong(bad))
}

fn rewrite(value: Value<'_>) -> Result<Rewrite, Problem> {
    let table = value.table(&["from", "to"])?;
    let (from, to) = (table.required("from", value.span())?, table.required("to", value.span())?);
    Rewrite::parse(from.text()?, to.text()?).map_err(|bad| value.wrong(bad))
}

fn header_rule(value: Value<'_>) -> Result<HeaderRule, Problem> {
    let table = value.table(&["path", "set", "add", "remove"])?;
    let path = table.read("path", |value| Pattern::parse_glob(value.text()?).map_err(|bad| value.wrong(bad)))?;
    let mut changes = Vec::new();
    if let Some(removed) = table.get("remove") {
        for name in removed.texts()? {
            changes.push(Change::remove(&name).map_err(|bad| removed.wrong(bad))?);
        }
    }
    let pairs = |key| table.get(key).map_or(Ok(Vec::new()), |value| value.pairs());
    for (name, value) in pairs("set")? {
        let line = FieldLine::new(name, value.text()?).and_then(Change::set);
        changes.push(line.map_err(|bad| value.wrong(bad))?);
    }
    for (name, values) in pairs("add")? {
        for value in values.one_or_list() {
            changes.push(Change::Add(FieldLine::new(name, value.text()?).map_err(|bad| value.wrong(bad))?));
        }
    }
    Ok(HeaderRule { path, changes })
}

fn lifetimes(value: Value<'_>, read: fn(Value<'_>) -> Result<Lifetime, Problem>) -> Result<Lifetimes, Problem> {
    if !value.is_table() {
        return Ok(Lifetimes::new(vec![(Scope::All, read(value)?)]));
    }
    let mut rules = Vec::new();
    for (scope, value) in value.pairs()? {
        rules.push((self::scope(scope, value)?, read(value)?));
    }
    Ok(Lifetimes::new(rules))
}

/// `*`, a media type, or a pattern of paths. A media type has a slash within; a path begins with one, and a
/// pattern of names has none.
fn scope(text: &str, value: Value<'_>) -> Result<Scope, Problem> {
    if text == "*" {
        return Ok(Scope::All);
    }
    match text.split_once('/') {
        Some((kind, subtype)) if !kind.is_empty() => {
            if media_type::is_name(kind) && (subtype == "*" || media_type::is_name(subtype)) {
                return Ok(Scope::MediaType(text.to_ascii_lowercase()));
            }
            Err(value.wrong(format!("{text:?} is neither a media type nor a path; a path begins with a slash")))
        }
        _ => Pattern::parse_glob(text).map(Scope::Path).map_err(|bad| value.wrong(bad)),
    }
}

fn cache_control(value: Value<'_>) -> Result<Lifetime, Problem> {
    let text = value.text()?;
    FieldLine::new("Cache-Control", text).map_err(|bad| value.wrong(bad))?;
    let cache_control = if text == "off" { None } else { Some(Box::from(text)) };
    Ok(Lifetime { cache_control, expiry: None })
}

fn expires(value: Value<'_>) -> Result<Lifetime, Problem> {
    let text = value.text()?;
    let what = || format!("expected \"off\", \"epoch\", \"max\", or a time such as \"30d\" or \"12h\", found {text:?}");
    Lifetime::of_expires(text).ok_or_else(|| value.wrong(what()))
}

fn cors(value: Value<'_>) -> Result<Cors, Problem> {
    let table = value.table(&["origins", "headers", "max_age", "credentials"])?;
    let origins = table.required("origins", value.span())?.texts()?;
    let headers = table.read("headers", |value| value.texts())?.unwrap_or_default();
    let max_age = table.read("max_age", |value| value.number(0, 86_400))?.unwrap_or(600);
    let max_age = u32::try_from(max_age).expect("the key's range fits");
    let credentials = table.read("credentials", |value| value.boolean())?.unwrap_or(false);
    Cors::new(&origins, &headers, max_age, credentials).map_err(|bad| value.wrong(bad))
}

fn basic_auth(value: Value<'_>) -> Result<BasicAuth, Problem> {
    let table = value.table(&["realm", "file"])?;
    let realm = table.read("realm", |value| value.text())?.unwrap_or("restricted");
    let file = table.required("file", value.span())?;
    let auth = BasicAuth::new(realm, Path::new(file.text()?)).map_err(|bad| value.wrong(bad))?;
    if file.world() == World::Asked {
        // Read now, to say what is wrong with it while somebody looks.
        auth.read().map_err(|bad| file.wrong(bad))?;
    }
    Ok(auth)
}

/// `allow` and `deny` are one key in two parts: a location that sets one of them unsets the other.
fn addresses(table: &Table<'_>) -> Result<Option<Option<Arc<AddressRules>>>, Problem> {
    let (allow, deny) = (table.get("allow"), table.get("deny"));
    let Some(value) = allow.or(deny) else { return Ok(None) };
    let texts = |value: Option<Value<'_>>| value.map_or(Ok(Vec::new()), |value| value.texts());
    let (allowed, denied) = (texts(allow)?, texts(deny)?);
    if allowed.is_empty() && denied.is_empty() {
        return Ok(Some(None));
    }
    // Each alone first, so that a bad entry is shown in its own list.
    for (value, texts) in [(allow, &allowed), (deny, &denied)] {
        if let (Some(value), Err(bad)) = (value, AddressRules::parse(texts, &[])) {
            return Err(value.wrong(bad));
        }
    }
    AddressRules::parse(&allowed, &denied).map(|rules| Some(Some(Arc::new(rules)))).map_err(|bad| value.wrong(bad))
}

fn codings(value: Value<'_>) -> Result<Arc<[Coding]>, Problem> {
    let words = [("br", Coding::Brotli), ("zstd", Coding::Zstd), ("gzip", Coding::Gzip)];
    let mut codings = Vec::new();
    for one in value.list()? {
        let coding = one.one_of(&words)?;
        if codings.contains(&coding) {
            return Err(one.wrong("it stands in the list already"));
        }
        codings.push(coding);
    }
    Ok(codings.into())
}

fn types(value: Value<'_>) -> Result<Arc<HashMap<String, String>>, Problem> {
    let mut types = HashMap::new();
    for (extension, one) in value.pairs()? {
        let extension = extension.trim_start_matches('.');
        if extension.is_empty() || extension.contains(['/', '.']) {
            return Err(one.wrong(format!("{extension:?} is not an extension, such as \"webmanifest\"")));
        }
        types.insert(extension.to_ascii_lowercase(), read_media_type(one)?.to_owned());
    }
    Ok(Arc::new(types))
}

fn read_media_type(value: Value<'_>) -> Result<&str, Problem> {
    let text = value.text()?;
    let parts = media_type::essence(text).split_once('/');
    let is_valid = parts.is_some_and(|(kind, subtype)| media_type::is_name(kind) && media_type::is_name(subtype));
    if !is_valid || FieldLine::new("X-Media-Type", text).is_err() {
        return Err(value.wrong(format!("{text:?} is not a media type, such as \"text/plain\"")));
    }
    Ok(text)
}

fn charset(value: Value<'_>) -> Result<Option<Arc<str>>, Problem> {
    let text = value.text()?;
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)) {
        return Err(value.wrong(format!("{text:?} is not a charset, such as \"utf-8\", nor \"off\"")));
    }
    Ok((text != "off").then(|| Arc::from(text)))
}

fn error_pages(value: Value<'_>) -> Result<Arc<ErrorPages>, Problem> {
    let mut pages = ErrorPages::default();
    for (status, one) in value.pairs()? {
        pages.add(status, one.text()?).map_err(|bad| one.wrong(bad))?;
    }
    Ok(Arc::new(pages))
}
