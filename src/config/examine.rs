//! Finds all that is wrong with a configuration, and not only the first: what is wrong is noted and taken out, and the rest
//! is read again.
//!
//! Invariant: what is read last holds no key that a problem was found with.

use super::files::{Document, LINED_UP, Sources};
use super::table::{Problem, World};
use super::{Config, ConfigError};
use crate::cli::Args;
use crate::server::doctor::{Finding, Level};
use std::ops::Range;
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// What a configuration comes to.
pub struct Examined {
    /// The configuration, of the parts that could be read.
    pub config: Option<Config>,
    /// What is wrong, or that nothing is.
    pub findings: Vec<Finding>,
    /// The first problem as a start would show it.
    pub shown: Option<String>,
}

/// Problems that are told. Whoever has more begins with these.
const PROBLEMS_MAX: usize = 100;

const TOPIC: &str = "configuration";

/// Reads the configuration for this command line, and goes on where something is wrong. An error is one of the
/// command line.
pub fn examine(args: &Args) -> Result<Examined, ConfigError> {
    let typed = super::look_up(args)?;
    let sources = match Sources::load(args.config.as_deref()) {
        Ok(sources) => Arc::new(sources),
        Err(line) => {
            let finding = Finding::new(Level::Error, TOPIC, &line);
            return Ok(Examined { config: None, findings: vec![finding], shown: Some(line) });
        }
    };
    let Document { mut table, problems } = sources.document();
    if let Some(first) = problems.first() {
        // What does not follow the grammar was read as something else: nothing is to be concluded from that.
        let shown = Some(sources.show(first));
        return Ok(Examined { config: None, findings: findings(&sources, problems), shown });
    }
    let mut problems: Vec<Problem> = Vec::new();
    let mut removed = Vec::new();
    let mut first = None;
    let config = loop {
        let problem = match Config::of_document(args, typed.clone(), &sources, &table, World::Asked) {
            Ok(config) => break Some(config),
            Err(problem) => problem,
        };
        first.get_or_insert_with(|| sources.show(&problem));
        let is_consequence = removed.iter().any(|key| problem.message().contains(&format!("`{key}`")));
        let span = problem.span();
        if !is_consequence {
            problems.push(problem);
        }
        match remove(&mut table, &span) {
            Some(key) if removed.len() < PROBLEMS_MAX => removed.push(key),
            _ => break None,
        }
    };
    if problems.is_empty() {
        let names: Vec<_> = sources.names().collect();
        let good = Finding::new(Level::Ok, TOPIC, &names.join(", "));
        return Ok(Examined { config, findings: vec![good], shown: None });
    }
    Ok(Examined { config, findings: findings(&sources, problems), shown: first })
}

/// A finding for each problem, in the order of the files.
fn findings(sources: &Sources, mut problems: Vec<Problem>) -> Vec<Finding> {
    problems.sort_by_key(Problem::start);
    problems.dedup();
    problems.iter().map(|problem| Finding::new(Level::Error, TOPIC, &sources.tell(problem))).collect()
}

/// Takes the key out whose name or value holds `span`, or the site or location that it is the head of. Gives its name.
fn remove(table: &mut DeTable<'_>, span: &Range<usize>) -> Option<String> {
    // A problem of the whole, with no place of its own.
    if span.is_empty() && span.start == 0 {
        return None;
    }
    for key in LINED_UP {
        let Some(DeValue::Array(members)) = table.get_mut(key).map(Spanned::get_mut) else { continue };
        let within = members.iter_mut().enumerate().find_map(|(at, member)| {
            let is_head = holds(&member.span(), span);
            let DeValue::Table(table) = member.get_mut() else { return None };
            let removed = remove(table, span);
            // Without its path a location is nothing.
            if removed.as_deref() == Some("path") {
                return Some((Some(at), key.to_owned()));
            }
            removed.map(|key| (None, key)).or_else(|| is_head.then(|| (Some(at), key.to_owned())))
        });
        if let Some((whole, key_removed)) = within {
            if let Some(at) = whole {
                let kept = std::mem::replace(members, DeArray::new()).into_iter().enumerate();
                *members = kept.filter(|(index, _)| *index != at).map(|(_, member)| member).collect();
            }
            return Some(key_removed);
        }
    }
    let found = table.iter().find(|(key, value)| holds(&key.span(), span) || value_holds(value, span));
    let name = found.map(|(key, _)| key.get_ref().clone().into_owned())?;
    table.remove(name.as_str());
    Some(name)
}

fn holds(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// Whether the value or a part of it holds `span`: the parts of a table with a head of its own stand behind that.
fn value_holds(value: &Spanned<DeValue<'_>>, span: &Range<usize>) -> bool {
    let is_within = match value.get_ref() {
        DeValue::Array(array) => array.iter().any(|value| value_holds(value, span)),
        DeValue::Table(table) => table.iter().any(|(key, value)| holds(&key.span(), span) || value_holds(value, span)),
        _ => false,
    };
    is_within || holds(&value.span(), span)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examined(name: &str, text: &str) -> Examined {
        let path = std::env::temp_dir().join(format!("otus-httpd-examine-{name}-{}", std::process::id()));
        std::fs::write(&path, text).expect("a file of the test");
        let examined =
            examine(&Args { config: Some(path.clone()), ..Args::default() }).expect("nothing was typed wrongly");
        std::fs::remove_file(path).expect("it is ours");
        examined
    }

    #[test]
    fn every_problem_is_found_and_the_rest_is_read() {
        let text = "wrokers = 2\nread_timeout = 0\nlisten = ['80 proxy_protocol']\nreal_ip_from = ['10.0.0.0/33']\nkeepalive_timeout = 7\n\
                    [types]\na = 'b'\n[[location]]\npath = 'x/y'\nindx = 'z'\n[[site]]\nrot = '/'\nroot = '/srv'\n[[site.location]]\netag = 1\n";
        let Examined { config, findings, shown } = examined("all", text);
        let config = config.expect("the rest can be read");
        assert_eq!((config.keepalive_timeout, config.read_timeout), (7, 15));
        assert_eq!(config.sites[0].locations.len(), 0);
        let places: Vec<_> = findings
            .iter()
            .map(|finding| {
                finding.what.rsplit_once("all-").map_or("", |(_, rest)| rest.split_once(':').map_or("", |rest| rest.1))
            })
            .map(|place| place.split(':').take(2).collect::<Vec<_>>().join(":"))
            .collect();
        assert_eq!(places, ["1:1", "2:16", "4:16", "7:5", "9:8", "10:1", "12:1", "14:1"], "{findings:?}");
        assert!(shown.is_some_and(|shown| shown.contains(":1:1: ") && shown.ends_with('^')));
    }

    #[test]
    fn grammar_comes_first() {
        let Examined { config, findings, shown } = examined("grammar", "root = \nwrokers = 2\nworkers = \n");
        assert!(config.is_none() && shown.is_some());
        assert_eq!(findings.len(), 2, "{findings:?}");
        let Examined { config, findings, shown } = examined("good", "workers = 2\n");
        assert!(config.is_some() && shown.is_none() && findings.len() == 1 && findings[0].level == Level::Ok);
    }
}
