//! Rules that make the emulator misbehave: which request, by chance or by count, gets which fault.
//!
//! Decisions depend on the seed and on the request itself (operation, key, range, part and how
//! often just that was asked), never on how threads interleave: the same seed spoils the same
//! requests of the same program in every run.

pub(crate) mod action;
pub(crate) mod faults;
pub(crate) mod fired;
pub(crate) mod glob;
pub(crate) mod states;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::locks::lock;
use crate::random::{fraction, hash, mix};
use crate::rules::action::{Action, OneOrMany};
use crate::rules::fired::Fired;
use crate::rules::glob::fits;
use crate::shaping::Admission;

/// Different requests whose repetitions are counted for one rule; then counting starts again.
const MAX_COUNTED: usize = 1_000_000;

/// Which of the matching requests (or connections) are meant, counted from 1.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Nth {
    One(u64),
    List(Vec<u64>),
    Every { every: u64 },
    Word(String),
}

impl Nth {
    fn takes(&self, number: u64) -> bool {
        match self {
            Nth::One(one) => *one == number,
            Nth::List(list) => list.contains(&number),
            Nth::Every { every } => number.is_multiple_of((*every).max(1)),
            Nth::Word(_) => true,
        }
    }
}

/// Milliseconds since the rules were set.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Window {
    List([u64; 2]),
    Full {
        #[serde(default)]
        from_ms: u64,
        until_ms: Option<u64>,
    },
}

impl Window {
    fn takes(&self, at_ms: u64) -> bool {
        let (from, until) = match self {
            Window::List([from, until]) => (*from, *until),
            Window::Full { from_ms, until_ms } => (*from_ms, until_ms.unwrap_or(u64::MAX)),
        };
        (from..until).contains(&at_ms)
    }
}

/// What a request must be to meet a rule; absent means any.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Match {
    op: Option<OneOrMany<String>>,
    method: Option<String>,
    bucket: Option<String>,
    key: Option<String>,
    range: Option<String>,
    part: Option<OneOrMany<u32>>,
    upload: Option<String>,
    nth: Option<Nth>,
    header: HashMap<String, String>,
    query: HashMap<String, String>,
    connection: Option<Nth>,
    time: Option<Window>,
    probability: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    name: Option<String>,
    #[serde(default, rename = "match")]
    matching: Match,
    action: Action,
    times: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RulesText {
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    rules: Vec<Value>,
}

/// What rules look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    /// Name of the operation.
    pub(crate) operation: &'a str,
    /// HTTP method.
    pub(crate) method: &'a str,
    /// Bucket, "" if none.
    pub(crate) bucket: &'a str,
    /// Key, "" if none.
    pub(crate) key: &'a str,
    /// Decoded query parameters.
    pub(crate) query: &'a [(String, String)],
    /// Headers, names in lower case.
    pub(crate) headers: &'a [(String, String)],
    /// Number of the connection since the emulator's start.
    pub(crate) connection: u64,
    /// Milliseconds since the emulator's start.
    pub(crate) at_ms: u64,
}

impl Facts<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// What makes two requests "the same" across runs; ids that are drawn at random are left out.
    fn identity(&self) -> u64 {
        let part = self.parameter("partNumber").unwrap_or_default();
        let range = self.header("range").unwrap_or_default();
        let token = self.parameter("continuation-token").or(self.parameter("marker")).unwrap_or_default();
        hash(&[self.operation, self.bucket, self.key, range, part, token])
    }
}

#[derive(Debug)]
struct Rule {
    name: String,
    label: Arc<str>,
    text: Value,
    matching: Match,
    action: Arc<Action>,
    times: Option<u64>,
    seed: u64,
    admission: Option<Arc<Admission>>,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    matched: u64,
    hits: u64,
    repeats: HashMap<u64, u64>,
}

#[derive(Debug, Default)]
struct RuleSet {
    seed: u64,
    rules: Vec<Rule>,
    first_connection: u64,
    since_ms: u64,
}

/// The rules in force.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    set: Mutex<Arc<RuleSet>>,
    any: AtomicBool,
}

impl Rules {
    /// Replaces all rules by those of a JSON document; connections and times count from here on.
    ///
    /// # Errors
    /// A line that names the rule and the name that is unknown or the value that is wrong.
    pub(crate) fn replace(
        &self,
        document: Value,
        seed: u64,
        connections: u64,
        now_ms: u64,
    ) -> Result<(), String> {
        let text: RulesText = serde_json::from_value(with_seed(document, seed)).map_err(|e| e.to_string())?;
        let rules: Result<Vec<Rule>, String> = text
            .rules
            .into_iter()
            .enumerate()
            .map(|(index, rule)| read_rule(index, rule, text.seed))
            .collect();
        let set = RuleSet { seed: text.seed, rules: rules?, first_connection: connections, since_ms: now_ms };
        self.any.store(!set.rules.is_empty(), Ordering::Release);
        *lock(&self.set) = Arc::new(set);
        Ok(())
    }

    /// Drops all rules.
    pub(crate) fn clear(&self) {
        self.any.store(false, Ordering::Release);
        *lock(&self.set) = Arc::default();
    }

    /// Finds the first rule that applies.
    pub(crate) fn decide(&self, facts: &Facts<'_>) -> Option<Fired> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let set = Arc::clone(&lock(&self.set));
        set.rules.iter().find_map(|rule| rule.decide(facts, &set))
    }

    /// Renders the rules with how often each matched and fired.
    pub(crate) fn render(&self) -> Value {
        let set = Arc::clone(&lock(&self.set));
        let rules: Vec<Value> = set.rules.iter().map(Rule::render).collect();
        json!({"seed": set.seed, "rules": rules})
    }
}

impl Rule {
    fn decide(&self, facts: &Facts<'_>, set: &RuleSet) -> Option<Fired> {
        if !self.matching.takes(facts, set) {
            return None;
        }
        let mut counts = lock(&self.counts);
        counts.matched += 1;
        let identity = facts.identity();
        if counts.repeats.len() >= MAX_COUNTED {
            counts.repeats.clear();
        }
        let repeat = counts.repeats.entry(identity).or_default();
        *repeat += 1;
        let bits = mix(self.seed ^ mix(identity ^ mix(*repeat)));
        let chance = self.matching.probability.is_none_or(|probability| fraction(bits) < probability);
        let counted = self.matching.nth.as_ref().is_none_or(|nth| nth.takes(counts.matched));
        if !chance || !counted || self.times.is_some_and(|times| counts.hits >= times) {
            return None;
        }
        counts.hits += 1;
        let admission = self.admission.clone();
        Some(Fired {
            label: Arc::clone(&self.label),
            action: Arc::clone(&self.action),
            bits: mix(bits),
            admission,
        })
    }

    fn render(&self) -> Value {
        let counts = lock(&self.counts);
        let mut text = self.text.clone();
        if let Value::Object(fields) = &mut text {
            fields.insert("name".to_owned(), Value::from(self.name.clone()));
            fields.insert("matched".to_owned(), Value::from(counts.matched));
            fields.insert("hits".to_owned(), Value::from(counts.hits));
        }
        text
    }
}

impl Match {
    fn takes(&self, facts: &Facts<'_>, set: &RuleSet) -> bool {
        let glob = |pattern: &Option<String>, text| pattern.as_ref().is_none_or(|p| fits(p, text));
        self.op.as_ref().is_none_or(|ops| ops.all().iter().any(|op| op == facts.operation))
            && self.method.as_ref().is_none_or(|method| method.eq_ignore_ascii_case(facts.method))
            && glob(&self.bucket, facts.bucket)
            && glob(&self.key, facts.key)
            && self.takes_range(facts.header("range"))
            && self.takes_upload(facts)
            && self.header.iter().all(|(name, p)| facts.header(name).is_some_and(|value| fits(p, value)))
            && self.query.iter().all(|(name, p)| facts.parameter(name).is_some_and(|value| fits(p, value)))
            && self.takes_connection(facts.connection, set.first_connection)
            && self.time.as_ref().is_none_or(|window| window.takes(facts.at_ms.saturating_sub(set.since_ms)))
    }

    fn takes_range(&self, range: Option<&str>) -> bool {
        match (self.range.as_deref(), range) {
            (None, _) | (Some("any"), Some(_)) | (Some("none"), None) => true,
            (Some("any" | "none"), _) | (Some(_), None) => false,
            (Some(pattern), Some(range)) => fits(pattern, range),
        }
    }

    fn takes_upload(&self, facts: &Facts<'_>) -> bool {
        let part = facts.parameter("partNumber").and_then(|text| text.parse().ok());
        let upload = facts.parameter("uploadId");
        self.part.as_ref().is_none_or(|parts| part.is_some_and(|part| parts.all().contains(&part)))
            && match (self.upload.as_deref(), upload) {
                (None, _) | (Some("any"), Some(_)) => true,
                (Some(_), None) => false,
                (Some(pattern), Some(id)) => fits(pattern, id),
            }
    }

    fn takes_connection(&self, connection: u64, first: u64) -> bool {
        let Some(nth) = &self.connection else { return true };
        connection.checked_sub(first).is_some_and(|number| number > 0 && nth.takes(number))
    }
}

fn with_seed(document: Value, seed: u64) -> Value {
    let mut fields = match document {
        Value::Object(fields) => fields,
        Value::Array(rules) => Map::from_iter([("rules".to_owned(), Value::Array(rules))]),
        other => return other,
    };
    fields.entry("seed").or_insert_with(|| Value::from(seed));
    Value::Object(fields)
}

fn read_rule(index: usize, text: Value, seed: u64) -> Result<Rule, String> {
    let read: RuleText =
        serde_json::from_value(text.clone()).map_err(|error| format!("rule {index}: {error}"))?;
    check_names(index, &read)?;
    let admission = read.action.admit_rps.as_ref().map(|admit| Arc::new(Admission::of(admit)));
    let name = read.name.unwrap_or_else(|| index.to_string());
    let words = text["action"].as_object().map(|words| words.keys().cloned().collect::<Vec<_>>());
    Ok(Rule {
        label: format!("rule {name}: {}", words.unwrap_or_default().join(", ")).into(),
        name,
        text,
        matching: read.matching,
        action: Arc::new(read.action),
        times: read.times,
        seed: mix(seed ^ mix(index as u64)),
        admission,
        counts: Mutex::default(),
    })
}

fn check_names(index: usize, rule: &RuleText) -> Result<(), String> {
    let ops = rule.matching.op.as_ref().map_or(&[][..], OneOrMany::all);
    let unknown = ops.iter().find(|op| oss_protocol::operation::Operation::from_name(op).is_none());
    if let Some(op) = unknown {
        return Err(format!("rule {index}: match: unknown operation `{op}`"));
    }
    if let Some(p) = rule.matching.probability.filter(|p| !(0.0..=1.0).contains(p)) {
        return Err(format!("rule {index}: match: probability {p} is not between 0 and 1"));
    }
    match &rule.matching.nth {
        Some(Nth::Word(word)) if word != "every" => Err(format!(
            "rule {index}: match: nth `{word}` is neither a number, a list, {{\"every\": n}} nor \"every\""
        )),
        _ => Ok(()),
    }
}
