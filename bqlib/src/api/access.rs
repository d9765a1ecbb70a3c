//! Who may see a table and which of its rows: IAM policies and row access policies, as the API tells of them, and how two of them differ.
//!
//! What is to become of a difference is not known here.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::send::Call;
use super::{Api, ApiError, of_table};
use crate::names::TableRef;

/// A row access policy as `rowAccessPolicies.list` tells of it.
/// Source: <https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/rowAccessPolicies#RowAccessPolicy>.
#[derive(Clone, Debug, PartialEq)]
pub struct RowPolicy {
    /// Its name, which is its table's own.
    pub id: String,
    /// Which rows it lets through; empty if it is not told.
    pub filter: String,
    /// To whom, if that is told: BigQuery documents it as something to send, not to get.
    pub grantees: Option<BTreeSet<String>>,
}

impl RowPolicy {
    /// A policy whose name or filter is not told is one all the same.
    fn of(policy: &Value) -> RowPolicy {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let reference = policy.get("rowAccessPolicyReference");
        let grantees = policy.get("grantees").and_then(Value::as_array);
        RowPolicy {
            id: text(reference.and_then(|r| r.get("policyId"))),
            filter: text(policy.get("filterPredicate")),
            grantees: grantees.map(|all| all.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
        }
    }

    /// Whether another has its name and lets the same rows through to the same people, as far as these are told.
    pub fn is_like(&self, other: &RowPolicy) -> bool {
        let grantees = self.grantees.as_ref().zip(other.grantees.as_ref());
        self.id == other.id && self.filter == other.filter && grantees.is_none_or(|(was, is)| was == is)
    }
}

/// How the row access policies of a table differ, and whose eyes that opens or closes; empty: they do not.
pub fn policy_differences(was: &[RowPolicy], is: &[RowPolicy]) -> Vec<String> {
    let find = |all: &[RowPolicy], id: &str| all.iter().find(|policy| policy.id == id).cloned();
    let mut found = Vec::new();
    for policy in was {
        let (id, filter) = (&policy.id, &policy.filter);
        let Some(now) = find(is, id) else {
            found.push(format!("policy {id} ({filter}) is gone"));
            continue;
        };
        if now.filter != *filter {
            found.push(format!("policy {id}: filter was `{filter}`, is `{}`", now.filter));
        }
        if let (Some(was), Some(is)) = (&policy.grantees, &now.grantees)
            && was != is
        {
            let list = |all: &BTreeSet<String>| all.iter().cloned().collect::<Vec<_>>().join(", ");
            found.push(format!("policy {id}: was granted to {}, is to {}", list(was), list(is)));
        }
    }
    for policy in is.iter().filter(|policy| find(was, &policy.id).is_none()) {
        found.push(format!("policy {} ({}) was added", policy.id, policy.filter));
    }
    if !was.is_empty() && is.is_empty() {
        found.push("every row is open to all who may read the table".to_owned());
    }
    found
}

/// Who has which role by an IAM policy, and under which condition: what of it compares, in whatever order it is written.
pub fn grants(policy: &Value) -> BTreeMap<(String, String), BTreeSet<String>> {
    let mut grants: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for binding in policy.get("bindings").and_then(Value::as_array).into_iter().flatten() {
        let role = binding.get("role").and_then(Value::as_str).unwrap_or_default();
        let condition = binding.get("condition").filter(|condition| !condition.is_null());
        let members = binding.get("members").and_then(Value::as_array).into_iter().flatten();
        let members: BTreeSet<String> = members.filter_map(Value::as_str).map(str::to_owned).collect();
        if !members.is_empty() {
            let key = (role.to_owned(), condition.map(Value::to_string).unwrap_or_default());
            grants.entry(key).or_default().extend(members);
        }
    }
    grants
}

/// The policy that gives the grants of `wanted` to what has the policy `now`.
pub fn policy_with_grants(now: &Value, wanted: &Value) -> Value {
    let parts = [("bindings", wanted), ("version", wanted), ("etag", now)];
    let part = |(key, policy): (&str, &Value)| Some((key.to_owned(), policy.get(key)?.clone()));
    Value::Object(parts.into_iter().filter_map(part).collect())
}

impl Api<'_> {
    /// `rowAccessPolicies.list` of a table or snapshot, all pages.
    ///
    /// # Errors
    /// The call failed; of a table that does not exist, with 404.
    pub async fn row_policies(&self, table: &TableRef) -> Result<Vec<RowPolicy>, ApiError> {
        let table = of_table(table, table.table.as_str());
        let path = [&table[..], &["rowAccessPolicies"]].concat();
        let policies = self
            .pages("rowAccessPolicies.list", &path, Vec::new(), "rowAccessPolicies")
            .await?;
        Ok(policies.iter().map(RowPolicy::of).collect())
    }

    /// `rowAccessPolicies.getIamPolicy`: to whom a policy lets its rows through; BigQuery tells it nowhere else.
    /// Source: <https://docs.cloud.google.com/bigquery/docs/managing-row-level-security#the_bigqueryfiltereddataviewer_role>.
    ///
    /// # Errors
    /// The call failed; of a policy that does not exist, with 404.
    pub async fn row_policy_grantees(&self, table: &TableRef, policy: &str) -> Result<BTreeSet<String>, ApiError> {
        let table = of_table(table, table.table.as_str());
        let method = format!("{policy}:getIamPolicy");
        let path = [&table[..], &["rowAccessPolicies", &method]].concat();
        let policy = self.ask("rowAccessPolicies.getIamPolicy", &path, json!({})).await?;
        Ok(grants(&policy).into_values().flatten().collect())
    }

    /// `tables.getIamPolicy`: the grants on the table itself, conditions with them.
    /// Source: <https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/tables/getIamPolicy>.
    ///
    /// # Errors
    /// The call failed; of an endpoint that has no such method, with 404 or 501.
    pub async fn iam_policy(&self, table: &TableRef) -> Result<Value, ApiError> {
        let method = format!("{}:getIamPolicy", table.table);
        // An older version of a policy leaves its conditions out, and would give without them.
        let body = json!({ "options": { "requestedPolicyVersion": 3 } });
        self.ask("tables.getIamPolicy", &of_table(table, &method), body).await
    }

    /// `tables.setIamPolicy`: replaces the grants on the table itself, if its policy is still that of the `etag` in this one.
    /// Source: <https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/tables/setIamPolicy>.
    ///
    /// # Errors
    /// The call failed; where the policy was changed in between, with 400 or 409.
    pub async fn set_iam_policy(&self, table: &TableRef, policy: &Value) -> Result<Value, ApiError> {
        let method = format!("{}:setIamPolicy", table.table);
        let path = of_table(table, &method);
        let call = Call {
            method: Method::POST,
            body: Some(json!({ "policy": policy })),
            changes: Some(table.to_string()),
            ..Call::get("tables.setIamPolicy", &path)
        };
        self.call(call).await.map(Value::Object)
    }

    async fn ask(&self, name: &'static str, path: &[&str], body: Value) -> Result<Value, ApiError> {
        let call = Call {
            method: Method::POST,
            body: Some(body),
            ..Call::get(name, path)
        };
        let answer: Map<String, Value> = self.call(call).await?;
        Ok(Value::Object(answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(id: &str, filter: &str, grantees: Option<&[&str]>) -> RowPolicy {
        RowPolicy {
            id: id.to_owned(),
            filter: filter.to_owned(),
            grantees: grantees.map(|all| all.iter().map(|g| (*g).to_owned()).collect()),
        }
    }

    #[test]
    fn policies_are_compared_by_name_filter_and_grantees() {
        let eu = policy("eu", "region = 'EU'", None);
        let us = policy("us", "region = 'US'", Some(&["user:a", "user:b"]));
        for (was, is, want) in [
            (vec![], vec![], vec![]),
            (vec![eu.clone(), us.clone()], vec![us.clone(), eu.clone()], vec![]),
            (
                vec![eu.clone()],
                vec![],
                vec![
                    "policy eu (region = 'EU') is gone",
                    "every row is open to all who may read the table",
                ],
            ),
            (
                vec![eu.clone(), us.clone()],
                vec![us.clone()],
                vec!["policy eu (region = 'EU') is gone"],
            ),
            (
                vec![eu.clone()],
                vec![policy("eu", "TRUE", None)],
                vec!["policy eu: filter was `region = 'EU'`, is `TRUE`"],
            ),
            (
                vec![us.clone()],
                vec![policy("us", "region = 'US'", Some(&["user:b", "user:a"]))],
                vec![],
            ),
            (vec![us.clone()], vec![policy("us", "region = 'US'", None)], vec![]),
            (
                vec![us.clone()],
                vec![policy("us", "region = 'US'", Some(&["allUsers"]))],
                vec!["policy us: was granted to user:a, user:b, is to allUsers"],
            ),
            (vec![], vec![eu.clone()], vec!["policy eu (region = 'EU') was added"]),
        ] {
            assert_eq!(policy_differences(&was, &is), want);
            let alike = was.len() == is.len() && was.iter().all(|was| is.iter().any(|is| was.is_like(is)));
            assert_eq!(alike, want.is_empty());
        }
    }

    #[test]
    fn grants_are_the_same_in_any_order_and_not_without_their_conditions() {
        let viewer = |members: Value| json!({ "role": "roles/bigquery.dataViewer", "members": members });
        let of = |bindings: Value| grants(&json!({ "etag": "x", "bindings": bindings }));
        let both = of(json!([viewer(json!(["user:a", "user:b"]))]));
        assert_eq!(of(json!([viewer(json!(["user:b"])), viewer(json!(["user:a"]))])), both);
        assert_ne!(of(json!([viewer(json!(["user:a"]))])), both);
        let mut until = viewer(json!(["user:a", "user:b"]));
        until["condition"] = json!({ "expression": "request.time < timestamp('2027-01-01T00:00:00Z')" });
        assert_ne!(of(json!([until])), both);
        assert_eq!(of(json!([viewer(json!([]))])), grants(&json!({})));
    }
}
