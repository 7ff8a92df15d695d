//! What may be changed while the gateway runs: of one upstream, one knob or several, all of them checked before the first is
//! turned.
//!
//! | knob | values |
//! |---|---|
//! | `circuit` | `open` and `closed` hold it, `reset` leaves it to itself, as new |
//! | `chaos` | what is injected, as `latency=50ms@10%,error@2%`, or `none` |
//! | `rate` | of calls to the upstream as a whole, as `500/s` or `unlimited` |
//!
//! As the fields of a form, or as a JSON object, beside `upstream`.

use crate::guard::{Guard, Hand};
use cofferdam::ConfigError;
use cofferdam::limit::Quota;
use cofferdam::resilience::breaker::IllegalTransition;
use cofferdam::resilience::chaos::Plan;
use hyper::header::{self, HeaderMap};
use serde_json::{Value, json};

/// What is wrong with a request: the knob, its value and the rule.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    knob: String,
    value: String,
    rule: &'static str,
}

impl Wrong {
    pub(super) fn new(knob: &str, value: &str, rule: &'static str) -> Self {
        Self { knob: knob.to_owned(), value: value.to_owned(), rule }
    }

    pub(super) fn said(&self) -> Value {
        let Self { knob, value, rule } = self;
        json!({ "error": format!("{knob} {value:?}: {rule}"), "knob": knob, "value": value, "rule": rule })
    }
}

/// What is to be changed, and can be.
#[derive(Debug, PartialEq)]
pub(super) struct Changes {
    /// Its number.
    pub(super) upstream: usize,
    circuit: Option<Hand>,
    chaos: Option<Plan>,
    rate: Option<Quota>,
}

const MEDIA_TYPES: &str = "must be application/json or application/x-www-form-urlencoded";

impl Changes {
    /// What a request says; `names` are those of the upstreams.
    pub(super) fn read<'a>(
        headers: &HeaderMap,
        body: &[u8],
        mut names: impl Iterator<Item = &'a str>,
    ) -> Result<Self, Wrong> {
        let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = media_type.unwrap_or_default();
        let fields = match media_type.split(';').next().unwrap_or_default().trim() {
            "application/json" => json_fields(body)?,
            "application/x-www-form-urlencoded" => form_fields(body)?,
            _ => return Err(Wrong::new("content-type", media_type, MEDIA_TYPES)),
        };
        let mut seen: Vec<&str> = Vec::new();
        let mut upstream = None;
        let mut changes = Self { upstream: 0, circuit: None, chaos: None, rate: None };
        for (knob, value) in &fields {
            let wrong = |rule| Wrong::new(knob, value, rule);
            let refused = |error: ConfigError| wrong(error.rule());
            if seen.contains(&knob.as_str()) {
                return Err(wrong("given twice"));
            }
            seen.push(knob);
            match knob.as_str() {
                "upstream" => {
                    let number = names.position(|name| name == value);
                    upstream = Some(number.ok_or_else(|| wrong("there is no such upstream"))?);
                }
                "circuit" => {
                    changes.circuit = Some(match value.as_str() {
                        "open" => Hand::Open,
                        "closed" => Hand::Closed,
                        "reset" => Hand::Reset,
                        _ => return Err(wrong("must be open, closed or reset")),
                    });
                }
                "chaos" => {
                    let plan = if value.trim() == "none" { "" } else { value };
                    let plan: Plan = plan.parse().map_err(refused)?;
                    if plan.has_skew() {
                        return Err(wrong("a clock is not skewed while it runs: skew is for --chaos"));
                    }
                    changes.chaos = Some(plan);
                }
                "rate" => changes.rate = Some(value.parse().map_err(refused)?),
                _ => return Err(wrong("there is no such knob: there are circuit, chaos and rate")),
            }
        }
        changes.upstream = upstream.ok_or(Wrong::new("upstream", "", "must be given"))?;
        if fields.len() < 2 {
            return Err(Wrong::new("circuit", "", "this, chaos or rate must be given"));
        }
        Ok(changes)
    }

    pub(super) fn make(&self, guard: &Guard) -> Result<(), IllegalTransition> {
        // First what can fail.
        if let Some(hand) = self.circuit {
            guard.set_circuit(hand)?;
        }
        if let Some(plan) = &self.chaos {
            guard.set_plan(plan);
        }
        if let Some(quota) = self.rate {
            guard.set_rate(quota);
        }
        Ok(())
    }
}

type Fields = Vec<(String, String)>;

fn json_fields(body: &[u8]) -> Result<Fields, Wrong> {
    let bad = |rule| Wrong::new("body", &String::from_utf8_lossy(body), rule);
    let Ok(Value::Object(object)) = serde_json::from_slice(body) else {
        return Err(bad("must be one JSON object"));
    };
    let field = |(knob, value): (String, Value)| match value {
        Value::String(value) => Ok((knob, value)),
        other => Err(Wrong::new(&knob, &other.to_string(), "must be a string")),
    };
    object.into_iter().map(field).collect()
}

fn form_fields(body: &[u8]) -> Result<Fields, Wrong> {
    let field = |pair: &[u8]| {
        let mut halves = pair.splitn(2, |byte| *byte == b'=');
        let mut half = || decoded(halves.next().unwrap_or_default());
        let both = half().zip(half());
        both.ok_or_else(|| Wrong::new("body", &String::from_utf8_lossy(pair), "must be a form in UTF-8"))
    };
    body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).map(field).collect()
}

/// A part of a form, as it was before it was put into one.
fn decoded(part: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(*digit).to_digit(16));
                let (high, low) = (digit()?, digit()?);
                (high * 16 + low) as u8
            }
            byte => *byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn read(media_type: &'static str, body: &str) -> Result<Changes, String> {
        let headers = [(header::CONTENT_TYPE, HeaderValue::from_static(media_type))].into_iter().collect();
        let changes = Changes::read(&headers, body.as_bytes(), ["mill", "10.0.0.1:80"].into_iter());
        changes.map_err(|error| error.said()["error"].as_str().unwrap().to_owned())
    }

    fn form(body: &str) -> Result<Changes, String> {
        read("application/x-www-form-urlencoded", body)
    }

    fn json(body: &str) -> Result<Changes, String> {
        read("application/json; charset=utf-8", body)
    }

    #[test]
    fn a_form_and_an_object_say_the_same() {
        let expected = Changes {
            upstream: 1,
            circuit: Some(Hand::Open),
            chaos: Some("latency=50ms@10%,error@2%".parse().unwrap()),
            rate: Some(Quota::per_second(5).burst(9)),
        };
        let text =
            "upstream=10.0.0.1%3A80&circuit=open&chaos=latency%3d50ms%4010%25,error%402%&rate=5/s+burst+9";
        assert_eq!(
            form(text).unwrap_err(),
            "body \"chaos=latency%3d50ms%4010%25,error%402%\": must be a form in UTF-8"
        );
        assert_eq!(form(&text.replace("2%&", "2%25&")).as_ref(), Ok(&expected));
        let object = r#"{ "rate": "5/s burst 9", "circuit": "open", "upstream": "10.0.0.1:80",
            "chaos": "latency=50ms@10%,error@2%" }"#;
        assert_eq!(json(object), Ok(expected));
    }

    #[test]
    fn knobs_that_are_not_named_are_not_turned() {
        let none = Changes { upstream: 0, circuit: None, chaos: None, rate: None };
        let reset = Changes { circuit: Some(Hand::Reset), ..none };
        assert_eq!(form("upstream=mill&circuit=reset"), Ok(reset));
        let calm = |value: &str| form(&format!("upstream=mill&chaos={value}")).unwrap().chaos;
        assert_eq!((calm("none"), calm("")), (Some(Plan::default()), Some(Plan::default())));
    }

    #[test]
    fn errors_name_the_knob_the_value_and_the_rule() {
        for (body, error) in [
            ("circuit=open", "upstream \"\": must be given"),
            ("upstream=mill", "circuit \"\": this, chaos or rate must be given"),
            ("upstream=barn&circuit=open", "upstream \"barn\": there is no such upstream"),
            ("upstream=mill&circuit=ajar", "circuit \"ajar\": must be open, closed or reset"),
            (
                "upstream=mill&lever=up",
                "lever \"up\": there is no such knob: there are circuit, chaos and rate",
            ),
            ("upstream=mill&circuit=open&circuit=reset", "circuit \"reset\": given twice"),
            ("upstream=mill&upstream=mill", "upstream \"mill\": given twice"),
            (
                "upstream=mill&chaos=skew=%2B5s@1%25",
                "chaos \"skew=+5s@1%\": a clock is not skewed while it runs: skew is for --chaos",
            ),
            ("upstream=mill&rate=%zz", "body \"rate=%zz\": must be a form in UTF-8"),
            ("upstream=mill&rate=%ff", "body \"rate=%ff\": must be a form in UTF-8"),
            ("upstream", "upstream \"\": there is no such upstream"),
        ] {
            assert_eq!(form(body).unwrap_err(), error);
        }
        let often = form("upstream=mill&rate=often").unwrap_err();
        assert!(often.starts_with("rate \"often\": "), "{often}");
        let mayhem = form("upstream=mill&chaos=mayhem@1%25").unwrap_err();
        assert!(mayhem.starts_with("chaos \"mayhem@1%\": must look like "), "{mayhem}");
        assert_eq!(json("[]").unwrap_err(), "body \"[]\": must be one JSON object");
        assert_eq!(json(r#"{"upstream":7}"#).unwrap_err(), "upstream \"7\": must be a string");
        let text = read("text/plain", "").unwrap_err();
        assert_eq!(text, format!("content-type \"text/plain\": {MEDIA_TYPES}"));
    }
}
