//! What a query found: asked for with `getQueryResults`, a page after the other, and read.

use serde_json::{Map, Value, json};

use super::error::{ApiError, Kind};
use super::send::Call;
use super::{Api, LONG_POLL, REQUEST_TIMEOUT, Rows, retry};
use crate::names::{JobId, Location};

impl Api<'_> {
    /// The rows of a query that was sent, waiting until it has ended; at most `most` of them.
    ///
    /// # Errors
    /// The query failed (then with BigQuery's reason, as an answer), or it could not be asked.
    pub async fn rows(&self, id: &JobId, location: Option<&Location>, most: Option<usize>) -> Result<Rows, ApiError> {
        let mut rows = Rows::new();
        let mut page: Option<String> = None;
        let mut waits = retry::waits(self.clock.seed());
        let mut troubled = None;
        let leaving = self.config.stop.by().is_some();
        loop {
            let answer = match self.results(id, location, most, page.clone()).await {
                Ok(answer) if !complete(&answer) => continue,
                Ok(answer) => answer,
                Err(e) => {
                    let job = self.look_up(id, location, true).await?;
                    if let Some(failed) = job.error() {
                        let kind = Kind::Answer {
                            status: e.status().unwrap_or(400),
                            reason: failed.reason,
                            message: failed.message,
                        };
                        return Err(ApiError { kind, ..e });
                    }
                    let since = *troubled.get_or_insert_with(|| self.clock.elapsed());
                    if retry::request(&e) == retry::Next::Stop
                        || self.clock.elapsed().saturating_sub(since) > self.config.retry_for
                    {
                        return Err(e);
                    }
                    let wait = waits.next().unwrap_or(LONG_POLL);
                    match self.wait_to_try(wait, leaving).await {
                        Ok(()) => continue,
                        Err(signal) => return Err(e.stopped(signal)),
                    }
                }
            };
            rows.extend(rows_of(&answer));
            let next = answer
                .get("pageToken")
                .and_then(Value::as_str)
                .filter(|t| !t.is_empty());
            match next {
                Some(token) if most.is_none_or(|most| rows.len() < most) => page = Some(token.to_owned()),
                _ => return Ok(rows),
            }
        }
    }

    pub(super) async fn results(
        &self,
        id: &JobId,
        location: Option<&Location>,
        most: Option<usize>,
        page: Option<String>,
    ) -> Result<Map<String, Value>, ApiError> {
        let path = ["projects", self.project.as_str(), "queries", id.as_str()];
        let mut query = in_location(location);
        query.push(("timeoutMs", LONG_POLL.as_millis().to_string()));
        query.extend(most.map(|most| ("maxResults", most.to_string())));
        query.extend(page.map(|page| ("pageToken", page)));
        let call = Call {
            query,
            timeout: LONG_POLL + REQUEST_TIMEOUT,
            once: true,
            holds: &["jobComplete"],
            ..Call::get("jobs.getQueryResults", &path)
        };
        let failed = |e: ApiError| e.of(self.place(id, location));
        self.call(call).await.map_err(failed)
    }
}

/// The rows of an answer of `getQueryResults`.
pub(super) fn rows_of(answer: &Map<String, Value>) -> Rows {
    let list = |value: Option<&'_ Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let fields = list(answer.get("schema").and_then(|schema| schema.get("fields")));
    list(answer.get("rows"))
        .iter()
        .map(|row| decode(&fields, row))
        .collect()
}

/// A row of `getQueryResults` (`{"f":[{"v":…}]}`) as an object by column name.
fn decode(fields: &[Value], row: &Value) -> Map<String, Value> {
    let cells = row.get("f").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut object = Map::new();
    for (field, cell) in fields.iter().zip(cells) {
        let name = field.get("name").and_then(Value::as_str).unwrap_or("").to_owned();
        object.insert(name, decode_value(field, cell.get("v").unwrap_or(&Value::Null)));
    }
    object
}

fn decode_value(field: &Value, value: &Value) -> Value {
    if let Some(list) = value.as_array() {
        return list
            .iter()
            .map(|v| decode_value(field, v.get("v").unwrap_or(&Value::Null)))
            .collect();
    }
    match field.get("fields").and_then(Value::as_array) {
        Some(fields) if value.is_object() => Value::Object(decode(fields, value)),
        _ => value.clone(),
    }
}

/// Whether an answer of `getQueryResults` says that the job has ended.
pub(super) fn complete(answer: &Map<String, Value>) -> bool {
    answer.get("jobComplete") == Some(&json!(true))
}

pub(super) fn in_location<'a>(location: Option<&Location>) -> Vec<(&'a str, String)> {
    location.map(|l| ("location", l.to_string())).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_decoded_by_column_nested_and_repeated() {
        let fields = json!([
            {"name": "n", "type": "INTEGER"},
            {"name": "r", "type": "RECORD", "mode": "REPEATED", "fields": [{"name": "x", "type": "STRING"}]},
        ]);
        let row = json!({"f": [{"v": "7"}, {"v": [{"v": {"f": [{"v": "a"}]}}, {"v": {"f": [{"v": null}]}}]}]});
        let decoded = decode(fields.as_array().unwrap(), &row);
        assert_eq!(
            Value::Object(decoded),
            json!({"n": "7", "r": [{"x": "a"}, {"x": null}]})
        );
    }
}
