//! PURE: a table's options and constraints: how two tables differ in them, and the patch that makes them equal again.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::columns::{same_shape, to_patch};
use super::differences::{Difference, Kind};
use super::{SchemaRule, TableMeta, integer};
use crate::clock::{from_millis, later};
use crate::sql::Lives;

/// An expiry for a table that has none, where its dataset would give it one at once: it stands until the next call takes it away.
const LONG: Duration = Duration::from_secs(3650 * 24 * 3600);
/// The same for partitions, of which the oldest can be of the year 1: a million days.
const LONG_PARTITION_MS: u64 = 1_000_000 * 86_400_000;

/// Options that one `tables.patch` puts back, besides the required filter, labels, partitioning and schema, which
/// need care.
const PLAIN_OPTIONS: [(&str, Kind); 7] = [
    ("description", Kind::Description),
    ("friendlyName", Kind::FriendlyName),
    ("expirationTime", Kind::Expiration),
    ("maxStaleness", Kind::MaxStaleness),
    ("defaultCollation", Kind::Collation),
    ("defaultRoundingMode", Kind::RoundingMode),
    ("tableConstraints", Kind::Constraints),
];

impl TableMeta {
    /// How the options of `now` differ from these (layout and columns apart); empty: they do not.
    pub fn option_differences(&self, now: &TableMeta) -> Vec<Difference> {
        let mut found = Vec::new();
        for (key, kind) in PLAIN_OPTIONS {
            let (was, is) = (self.option(key), now.option(key));
            match kind {
                _ if was == is => {}
                Kind::Constraints => constraints(was, is, &mut found),
                _ => found.push(Difference::new(None, kind, was, is)),
            }
        }
        let mut compare = |path, kind, was: Value, is: Value| {
            if was != is {
                found.push(Difference::new(path, kind, was, is));
            }
        };
        let (was, is) = (self.requires_filter(), now.requires_filter());
        compare(None, Kind::RequiredFilter, was.into(), is.into());
        for (name, was, is) in either(self.at(&["labels"]), now.at(&["labels"])) {
            compare(Some(name), Kind::Label, was, is);
        }
        let (was, is) = (self.partition_expiration_ms(), now.partition_expiration_ms());
        compare(None, Kind::PartitionExpiration, was.into(), is.into());
        for (name, was, is) in either(self.at(&["resourceTags"]), now.at(&["resourceTags"])) {
            compare(Some(name), Kind::ResourceTag, was, is);
        }
        let (was, is) = (self.encryption_key(), now.encryption_key());
        compare(None, Kind::Encryption, was.into(), is.into());
        found
    }

    /// The key that the table is encrypted with. Of which version it is told is BigQuery's to choose.
    pub(super) fn encryption_key(&self) -> Option<&str> {
        let key = self.at(&["encryptionConfiguration", "kmsKeyName"]).as_str()?;
        key.split("/cryptoKeyVersions/").next()
    }

    /// The patches that [`TableMeta::options_patch`] leaves out, what each is for first: BigQuery may refuse one for want of a right that
    /// is nobody's who restores tables, and then the rest must be there.
    ///
    /// A table without a key of its own is given one, or loses it, only by being copied.
    /// Source: <https://docs.cloud.google.com/bigquery/docs/customer-managed-encryption#change_key>.
    pub fn further_patches(&self, now: &TableMeta) -> Vec<(&'static str, Value)> {
        let mut patches = Vec::new();
        if self.option("resourceTags") != now.option("resourceTags") {
            let tags = self.map_patch(now, "resourceTags");
            patches.push(("tags", json!({ "resourceTags": tags })));
        }
        if let (Some(was), Some(is)) = (self.encryption_key(), now.encryption_key())
            && was != is
        {
            let key = json!({ "encryptionConfiguration": { "kmsKeyName": was } });
            patches.push(("encryption key", key));
        }
        patches
    }

    /// The patch of a map that makes it what it was.
    fn map_patch(&self, now: &TableMeta, key: &str) -> Value {
        let empty = Map::new();
        let before = self.at(&[key]).as_object().unwrap_or(&empty);
        let there = now.at(&[key]).as_object().unwrap_or(&empty);
        let mut map = before.clone();
        for key in there.keys().filter(|key| !before.contains_key(*key)) {
            map.insert(key.clone(), Value::Null);
        }
        Value::Object(map)
    }

    /// The table's own expiry, unless it has passed.
    pub fn expiry_to_come(&self, now: Timestamp) -> Option<Timestamp> {
        self.expires_ms().map(from_millis).filter(|at| *at > now)
    }

    /// What the statement that makes such a table again says of how long it lives: what was, or, where its dataset would give it an end
    /// that it did not have, one that is far away and that the next call takes away.
    ///
    /// `expires_by_default`: whether the dataset gives its tables an expiry; `partition_ms`: how long it lets partitions live.
    pub fn lives(&self, expires_by_default: bool, partition_ms: Option<u64>, now: Timestamp) -> Lives {
        let was = self.partition_expiration_ms();
        let guarded = partition_ms.is_some() && self.is_time_partitioned() && was != partition_ms;
        let far = || expires_by_default.then(|| later(now, LONG));
        Lives {
            expires: self.expiry_to_come(now).or_else(far),
            partition_ms: guarded.then(|| was.unwrap_or(LONG_PARTITION_MS)),
        }
    }

    /// The same, without an expiry that has passed: a table that were given it would be gone at once.
    /// Source: <https://docs.cloud.google.com/bigquery/docs/managing-tables#updating_a_tables_expiration_time>.
    #[must_use]
    pub fn without_past_expiry(&self, now: Timestamp) -> TableMeta {
        let mut meta = self.clone();
        if self.expires_ms().is_some_and(|at| from_millis(at) <= now) {
            meta.0.remove("expirationTime");
        }
        meta
    }

    /// An option in a form that compares: absent, empty and null are one.
    fn option(&self, key: &str) -> Value {
        match self.at(&[key]) {
            Value::Object(map) if map.is_empty() => Value::Null,
            Value::String(text) if text.is_empty() => Value::Null,
            Value::String(text) if key == "defaultRoundingMode" && text == "ROUNDING_MODE_UNSPECIFIED" => Value::Null,
            // An instant is the same in a string and in a number.
            value if key == "expirationTime" => integer(value).map_or_else(|| value.clone(), Value::from),
            other => other.clone(),
        }
    }

    /// The `tables.patch` body that gives a table which is like `now` these options again; `None`: nothing to do.
    ///
    /// In a patch, null removes a value, also a single label.
    /// Source: <https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/tables/patch>.
    pub fn options_patch(&self, now: &TableMeta) -> Option<Value> {
        let mut patch = Map::new();
        for (key, _) in PLAIN_OPTIONS {
            let was = self.option(key);
            if was != now.option(key) {
                // The API writes and reads its int64 as strings.
                let was = was.as_u64().map_or(was, |number| number.to_string().into());
                patch.insert(key.to_owned(), was);
            }
        }
        if self.requires_filter() != now.requires_filter() {
            patch.insert("requirePartitionFilter".to_owned(), self.requires_filter().into());
        }
        if self.option("labels") != now.option("labels") {
            patch.insert("labels".to_owned(), self.map_patch(now, "labels"));
        }
        if self.partition_expiration_ms() != now.partition_expiration_ms() && now.is_time_partitioned() {
            let mut partitioning = self.at(&["timePartitioning"]).as_object().cloned().unwrap_or_default();
            partitioning.remove("requirePartitionFilter");
            partitioning.entry("expirationMs").or_insert(Value::Null);
            patch.insert("timePartitioning".to_owned(), Value::Object(partitioning));
        }
        // Column descriptions, defaults and policy tags travel in the schema; it is sent only when nothing but those
        // differ, for a patch cannot change a type or tighten a mode, and would be refused whole.
        let columns = self.schema_differences(now, SchemaRule::Same);
        if !columns.is_empty() && same_shape(self.fields(), now.fields()) {
            patch.insert(
                "schema".to_owned(),
                json!({ "fields": to_patch(self.fields(), now.fields()) }),
            );
        }
        (!patch.is_empty()).then_some(Value::Object(patch))
    }
}

/// The body of a `tables.patch`.
pub type Patch = Value;

/// A patch in parts, each with its name and whether rows are gone without it, those first: BigQuery takes a patch whole or not at all.
pub fn patch_in_parts(patch: &Patch) -> Vec<(String, bool, Patch)> {
    const URGENT: [&str; 2] = ["expirationTime", "timePartitioning"];
    let empty = Map::new();
    let parts = patch.as_object().unwrap_or(&empty).iter();
    let part = |(key, value): (&String, &Value)| (key.clone(), URGENT.contains(&key.as_str()), json!({ key: value }));
    let mut parts: Vec<_> = parts.map(part).collect();
    parts.sort_by_key(|(_, urgent, _)| !urgent);
    parts
}

/// What two objects hold, by name; null: not there.
fn either(was: &Value, is: &Value) -> Vec<(String, Value, Value)> {
    let keys =
        |value: &Value| -> Vec<String> { value.as_object().map_or_else(Vec::new, |m| m.keys().cloned().collect()) };
    let mut names = [keys(was), keys(is)].concat();
    names.sort();
    names.dedup();
    let of = |value: &Value, name: &str| value.get(name).cloned().unwrap_or_default();
    let both = |name: String| (name.clone(), of(was, &name), of(is, &name));
    names.into_iter().map(both).collect()
}

/// The differences of constraints that are known to differ: keys by name; whatever else there may be, whole.
fn constraints(was: Value, is: Value, found: &mut Vec<Difference>) {
    let before = found.len();
    let mut compare = |path, kind, was: Value, is: Value| {
        if was != is {
            found.push(Difference::new(path, kind, was, is));
        }
    };
    let primary = |constraints: &Value| constraints.get("primaryKey").cloned().unwrap_or_default();
    compare(None, Kind::PrimaryKey, columns(primary(&was)), columns(primary(&is)));
    for (name, was, is) in either(&by_name(&was), &by_name(&is)) {
        compare(Some(name), Kind::ForeignKey, was, is);
    }
    if found.len() == before {
        found.push(Difference::new(None, Kind::Constraints, was, is));
    }
}

/// A primary key as the list of its columns.
fn columns(mut key: Value) -> Value {
    let columns = key.get_mut("columns").map(Value::take);
    columns.unwrap_or(key)
}

/// Foreign keys by their names.
fn by_name(constraints: &Value) -> Value {
    let keys = constraints.get("foreignKeys").and_then(Value::as_array);
    let named = keys.into_iter().flatten().enumerate().map(|(i, key)| {
        let name = key.get("name").and_then(Value::as_str);
        (name.map_or_else(|| (i + 1).to_string(), str::to_owned), key.clone())
    });
    Value::Object(named.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(value: Value) -> TableMeta {
        TableMeta::of(value.as_object().unwrap())
    }

    #[test]
    fn the_patch_makes_options_equal_and_is_none_when_they_are() {
        let before = meta(json!({
            "labels": {"team": "x"}, "description": "d", "requirePartitionFilter": true,
            "timePartitioning": {"type": "DAY", "field": "at", "expirationMs": "1000"},
            "schema": {"fields": [{"name": "at", "type": "TIMESTAMP", "description": "when"}]},
        }));
        let now = meta(json!({
            "labels": {"bq-rollback-run": "r"}, "expirationTime": "5", "friendlyName": "f",
            "timePartitioning": {"type": "DAY", "field": "at"},
            "schema": {"fields": [{"name": "at", "type": "TIMESTAMP"}]},
        }));
        let patch = before.options_patch(&now).unwrap();
        assert_eq!(
            patch,
            json!({
                "description": "d", "friendlyName": null, "expirationTime": null, "requirePartitionFilter": true,
                "labels": {"team": "x", "bq-rollback-run": null},
                "timePartitioning": {"type": "DAY", "field": "at", "expirationMs": "1000"},
                "schema": {"fields": [{"name": "at", "type": "TIMESTAMP", "description": "when"}]},
            })
        );
        assert_eq!(now.options_patch(&before).unwrap()["expirationTime"], "5");
        assert_eq!(before.options_patch(&before), None);
        assert_eq!(before.option_differences(&before), []);
        let told: Vec<String> = before
            .option_differences(&now)
            .iter()
            .map(Difference::to_string)
            .collect();
        assert_eq!(
            told,
            [
                "description: was `d`, is not set",
                "friendly name: was not set, is `f`",
                "expiration: was not set, is 1970-01-01T00:00:00.005Z",
                "required partition filter: was true, is false",
                "label bq-rollback-run: was not set, is `r`",
                "label team: was `x`, is not set",
                "partition expiration: was 1000 ms, is not set",
            ]
        );
    }

    #[test]
    fn no_default_of_a_dataset_holds_for_a_moment() {
        let now = from_millis(1000);
        let plain = json!({});
        let daily = json!({"timePartitioning": {"type": "DAY"}});
        let short = json!({"timePartitioning": {"type": "DAY", "expirationMs": "7"}, "expirationTime": "5000"});
        let past = json!({"expirationTime": "1000"});
        let (soon, far) = (Some(from_millis(5000)), Some(later(now, LONG)));
        for (by_default, partition_ms, before, expires, lives_ms) in [
            (false, None, &plain, None, None),
            (false, None, &short, soon, None),
            (false, None, &past, None, None),
            (true, None, &plain, far, None),
            (true, None, &past, far, None),
            (true, Some(9), &short, soon, Some(7)),
            (false, Some(9), &plain, None, None),
            (false, Some(9), &daily, None, Some(LONG_PARTITION_MS)),
            (false, Some(7), &short, soon, None),
        ] {
            let lives = meta(before.clone()).lives(by_default, partition_ms, now);
            let want = Lives {
                expires,
                partition_ms: lives_ms,
            };
            assert_eq!(lives, want, "{by_default} {partition_ms:?} {before}");
        }
        assert_eq!(meta(past.clone()).without_past_expiry(now), meta(json!({})));
        assert_eq!(meta(short.clone()).without_past_expiry(now), meta(short));
    }

    #[test]
    fn what_bigquery_may_refuse_goes_apart_and_what_saves_rows_first() {
        let key = |name: &str| json!({ "kmsKeyName": format!("projects/p/locations/l/keyRings/r/cryptoKeys/{name}") });
        let before = meta(json!({
            "resourceTags": {"1/env": "prod"}, "encryptionConfiguration": key("a/cryptoKeyVersions/1"), "description": "d" }));
        let now = meta(
            json!({ "resourceTags": {"1/team": "x"}, "encryptionConfiguration": key("b"), "expirationTime": "5" }),
        );
        let told: Vec<String> = before
            .option_differences(&now)
            .iter()
            .map(Difference::to_string)
            .collect();
        assert_eq!(
            told[2..4],
            ["tag 1/env: was `prod`, is not set", "tag 1/team: was not set, is `x`"]
        );
        assert!(told[4].starts_with("encryption key: was `projects/p/"), "{told:?}");
        let further = before.further_patches(&now);
        assert_eq!(
            further[0],
            ("tags", json!({"resourceTags": {"1/env": "prod", "1/team": null}}))
        );
        assert_eq!(
            further[1],
            ("encryption key", json!({ "encryptionConfiguration": key("a") }))
        );
        let another_version = meta(json!({
            "resourceTags": {"1/env": "prod"}, "encryptionConfiguration": key("a"), "description": "d" }));
        assert_eq!(before.option_differences(&another_version), []);
        assert_eq!(before.further_patches(&another_version), []);
        // A table cannot be given a key, nor be rid of it: that is said, and not tried.
        let plain = meta(json!({ "resourceTags": {"1/env": "prod"}, "description": "d" }));
        assert_eq!(before.option_differences(&plain).len(), 1);
        assert_eq!(before.further_patches(&plain), []);
        let parts = patch_in_parts(&before.options_patch(&now).unwrap());
        let told: Vec<(&str, bool)> = parts.iter().map(|(name, urgent, _)| (name.as_str(), *urgent)).collect();
        assert_eq!(told, [("expirationTime", true), ("description", false)]);
    }

    #[test]
    fn what_is_beside_nested_columns_is_compared_and_put_back() {
        let of = |inner: Value| {
            let mut inner = inner;
            (inner["name"], inner["type"]) = ("x".into(), "STRING".into());
            meta(json!({ "schema": { "fields": [
                {"name": "r", "type": "RECORD", "mode": "REPEATED", "fields": [
                    {"name": "s", "type": "RECORD", "fields": [inner]}]}]}}))
        };
        let plain = of(json!({}));
        for (key, value, taken_away) in [
            ("description", json!("d"), None),
            ("defaultValueExpression", json!("'x'"), None),
            ("collation", json!("und:ci"), None),
            ("roundingMode", json!("ROUND_HALF_EVEN"), None),
            ("policyTags", json!({"names": ["t"]}), Some(json!({"names": []}))),
            ("dataPolicies", json!([{"name": "d"}]), None),
            (
                "dataPolicyList",
                json!({"dataPolicies": [{"name": "d"}]}),
                Some(json!({"dataPolicies": []})),
            ),
        ] {
            let with = of(json!({ key: value }));
            for (was, is, want) in [(&with, &plain, Some(value.clone())), (&plain, &with, taken_away)] {
                assert_eq!(was.differences(is).len(), 1, "{key}");
                let patch = was.options_patch(is).unwrap();
                let inner = &patch["schema"]["fields"][0]["fields"][0]["fields"][0];
                assert_eq!(inner.get(key), want.as_ref(), "{key}");
            }
        }
        for empty in [
            json!({"policyTags": {"names": []}}),
            json!({"policyTags": {}}),
            json!({"dataPolicies": []}),
        ] {
            assert_eq!(of(empty.clone()).differences(&plain), [], "{empty}");
        }
    }

    #[test]
    fn instants_are_compared_and_not_their_spelling() {
        let at = |value: Value| meta(json!({ "expirationTime": value }));
        assert_eq!(at(json!("5")).option_differences(&at(json!(5))), []);
        assert_eq!(at(json!("5")).option_differences(&at(json!("6"))).len(), 1);
    }

    #[test]
    fn constraints_are_told_apart_and_none_is_overlooked() {
        let key = |name: &str, table: &str| json!({"name": name, "referencedTable": {"tableId": table}});
        let before = meta(json!({ "tableConstraints": {
            "primaryKey": {"columns": ["id"]}, "foreignKeys": [key("one", "a"), key("two", "b")] } }));
        for (now, want) in [
            (
                json!({}),
                &[
                    "primary key: was [\"id\"], is not set",
                    "foreign key one",
                    "foreign key two",
                ][..],
            ),
            (
                json!({"primaryKey": {"columns": ["id", "x"]}, "foreignKeys": [key("one", "a"), key("two", "c")]}),
                &["primary key: was [\"id\"], is [\"id\",\"x\"]", "foreign key two"],
            ),
            // Nothing that is known of differs: that they do is said all the same.
            (
                json!({"primaryKey": {"columns": ["id"]}, "foreignKeys": [key("two", "b"), key("one", "a")]}),
                &["table constraints"],
            ),
            (
                json!({"primaryKey": {"columns": ["id"], "enforced": true}, "foreignKeys": [key("one", "a"), key("two", "b")]}),
                &["table constraints"],
            ),
        ] {
            let found = before.option_differences(&meta(json!({ "tableConstraints": now })));
            assert_eq!(found.len(), want.len(), "{found:?}");
            for (found, want) in found.iter().zip(want) {
                assert!(found.to_string().starts_with(want), "{found} and not {want}");
            }
        }
    }
}
