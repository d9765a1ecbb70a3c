//! JSON, and text of a URL, against a shape. Pure.

use super::document::{Field, Format, Id, Shape, Shapes};
use serde_json::Value;
use std::collections::HashMap;

/// Where a value stands, and so what is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A whole resource, sent.
    Sent,
    /// Changes to a resource, sent: null takes a field away, and what does not change is left out.
    Patch,
    /// Answered.
    Answer,
}

/// Judges a value, and collects what is wrong with it.
pub(super) struct Judge<'a> {
    pub(super) shapes: &'a Shapes,
    pub(super) place: Place,
    /// Where we are: names, and `[n]`.
    path: Vec<Step<'a>>,
    pub(super) wrong: Vec<String>,
}

enum Step<'a> {
    Name(&'a str),
    Number(usize),
}

impl<'a> Judge<'a> {
    pub(super) fn new(shapes: &'a Shapes, place: Place) -> Judge<'a> {
        Judge {
            shapes,
            place,
            path: Vec::new(),
            wrong: Vec::new(),
        }
    }

    pub(super) fn value(&mut self, id: Id, value: &'a Value) {
        if self.is_of_a_parameter(value) {
            return;
        }
        match (self.shapes.of(id), value) {
            (Shape::Anything, _) | (Shape::Flag, Value::Bool(_)) | (Shape::Number, Value::Number(_)) => {}
            // JSON has no other way to write these.
            (Shape::Number, Value::String(text)) if ["NaN", "Infinity", "-Infinity"].contains(&text.as_str()) => {}
            (Shape::Whole(low, high), Value::Number(number)) => {
                if !number.as_i64().is_some_and(|n| (*low..=*high).contains(&n)) {
                    self.say(&format!("{number} is not an integer from {low} to {high}"));
                }
            }
            (shape @ (Shape::Text(_) | Shape::OneOf(_)), Value::String(text)) => {
                if let Some(why) = not_a_text(shape, text) {
                    self.say(&why);
                }
            }
            (Shape::List(items), Value::Array(all)) => {
                for (n, item) in all.iter().enumerate() {
                    self.below(Step::Number(n), *items, item);
                }
            }
            (Shape::Map(values), Value::Object(all)) => {
                for (key, value) in all {
                    // A label is taken away by a null, too.
                    if !(self.place == Place::Patch && value.is_null()) {
                        self.below(Step::Name(key), *values, value);
                    }
                }
            }
            (Shape::Record(fields), Value::Object(all)) => self.record(fields, all),
            (shape, value) => self.say(&format!("{} where {} is wanted", said(value), wanted(shape))),
        }
    }

    fn record(&mut self, fields: &'a HashMap<String, Field>, all: &'a serde_json::Map<String, Value>) {
        for (name, value) in all {
            match fields.get(name) {
                None => self.say_below(name, "an unknown field"),
                Some(field) if field.output && self.place != Place::Answer => self.say_below(name, "output only"),
                Some(_) if value.is_null() && self.place == Place::Patch => {}
                Some(field) => self.below(Step::Name(name), field.shape, value),
            }
        }
        if self.place == Place::Sent {
            let missing = fields
                .iter()
                .filter(|(name, field)| field.required && !field.output && !all.contains_key(*name));
            for (name, _) in missing {
                self.say_below(name, "required, and missing");
            }
        }
    }

    /// Whether it is what only the value of a query parameter may be: null, for a null of any type, or an object without parts in the
    /// place of a text, for an array without elements. The definition does not say so; Google's own `bq` command sends both.
    fn is_of_a_parameter(&self, value: &Value) -> bool {
        let stands_in = |name: &str| {
            self.path
                .iter()
                .any(|step| matches!(step, Step::Name(step) if *step == name))
        };
        let is_empty = |parts: &serde_json::Map<String, Value>| parts.is_empty();
        let empty = value.as_object().is_some_and(is_empty) && matches!(self.path.last(), Some(Step::Name("value")));
        stands_in("queryParameters") && stands_in("parameterValue") && (value.is_null() || empty)
    }

    fn below(&mut self, step: Step<'a>, id: Id, value: &'a Value) {
        self.path.push(step);
        self.value(id, value);
        self.path.pop();
    }

    fn say_below(&mut self, name: &'a str, what: &str) {
        self.path.push(Step::Name(name));
        self.say(what);
        self.path.pop();
    }

    fn say(&mut self, what: &str) {
        let mut place = String::new();
        for step in &self.path {
            match step {
                Step::Name(name) if place.is_empty() => place.push_str(name),
                Step::Name(name) => place.push_str(&format!(".{name}")),
                Step::Number(n) => place.push_str(&format!("[{n}]")),
            }
        }
        let place = if place.is_empty() { "the body" } else { &place };
        self.wrong.push(format!("{place}: {what}"));
    }
}

/// What is wrong with a query parameter's text.
pub(super) fn not_a_parameter(shape: &Shape, text: &str) -> Option<String> {
    let fits = match shape {
        Shape::Text(_) | Shape::OneOf(_) => return not_a_text(shape, text),
        // The second is how Google's Python client writes them.
        Shape::Flag => ["true", "false", "True", "False"].contains(&text),
        Shape::Whole(low, high) => whole::<i64>(text).is_some_and(|n| (*low..=*high).contains(&n)),
        Shape::Number => text.parse::<f64>().is_ok(),
        _ => false,
    };
    (!fits).then(|| format!("`{text}` where {} is wanted", wanted(shape)))
}

fn not_a_text(shape: &Shape, text: &str) -> Option<String> {
    let fits = match shape {
        Shape::OneOf(values) => values.iter().any(|value| value == text),
        Shape::Text(format) => fits(*format, text),
        _ => false,
    };
    (!fits).then(|| format!("`{text}` where {} is wanted", wanted(shape)))
}

fn fits(format: Format, text: &str) -> bool {
    match format {
        Format::Free => true,
        Format::Int64 => whole::<i64>(text).is_some(),
        Format::Uint64 => whole::<u64>(text).is_some(),
        Format::Time => text.parse::<jiff::Timestamp>().is_ok(),
        Format::Duration => text
            .strip_suffix('s')
            .is_some_and(|n| n.starts_with(|c: char| c == '-' || c.is_ascii_digit()) && n.parse::<f64>().is_ok()),
        Format::Base64 => {
            let bytes = text.trim_end_matches('=').as_bytes();
            bytes.len() % 4 != 1 && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"+/-_".contains(b))
        }
        Format::Fields => text
            .split(',')
            .all(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "._*".contains(c))),
        Format::NoSlash => !text.is_empty() && !text.contains('/'),
        Format::AtMostOne => text.chars().count() <= 1,
    }
}

/// Digits, with a sign if it is a minus: `+1` is none to JSON.
fn whole<T: std::str::FromStr>(text: &str) -> Option<T> {
    (!text.starts_with('+')).then(|| text.parse().ok())?
}

fn said(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "a boolean".into(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the string `{text}`"),
        Value::Array(_) => "an array".into(),
        Value::Object(_) => "an object".into(),
    }
}

fn wanted(shape: &Shape) -> String {
    match shape {
        Shape::Anything => "anything".into(),
        Shape::Flag => "a boolean".into(),
        Shape::Number => "a number".into(),
        Shape::Whole(low, high) => format!("an integer from {low} to {high}"),
        Shape::Text(format) => match format {
            Format::Free => "a string",
            Format::Int64 => "a string of an int64",
            Format::Uint64 => "a string of a uint64",
            Format::Time => "a string of an RFC 3339 time",
            Format::Duration => "a string of seconds and an `s`",
            Format::Base64 => "a string of base64",
            Format::Fields => "a string of field names",
            Format::NoSlash => "a string without a slash",
            Format::AtMostOne => "a string of at most one character",
        }
        .into(),
        Shape::OneOf(values) => format!("one of {}", values.join(", ")),
        Shape::List(_) => "an array".into(),
        Shape::Map(_) | Shape::Record(_) => "an object".into(),
    }
}
