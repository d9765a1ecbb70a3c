//! The judge caught in what it must not let pass, by the document itself.

use super::calls::{Method, Wrong, decoded, json_of, parameters};
use super::{Definition, is_ours};
use crate::gateway::Ask;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Value, json};

const TABLE: &str = "/bigquery/v2/projects/p/datasets/d/tables/t";
const JOBS: &str = "/bigquery/v2/projects/p/jobs";

fn definition() -> &'static Definition {
    Definition::shared().expect("the document")
}

fn ask(method: &str, target: &str, body: &Value) -> Ask {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    Ask {
        method: method.parse().expect("a method"),
        target: target.to_owned(),
        headers,
        body: body.into(),
    }
}

fn request(method: &str, target: &str, body: &Value) -> Result<String, Vec<String>> {
    let ask = ask(method, target, body);
    let judged = definition().request(&ask, &json_of(&ask));
    judged.map(|method| method.id.clone()).map_err(|wrong| wrong.what)
}

fn answer(method: &str, target: &str, body: &Value) -> Result<String, Vec<String>> {
    let judged = definition().answer(method, target, body);
    judged.map(|method| method.id.clone()).map_err(|wrong| wrong.what)
}

/// A body that is right but for what is put at this place.
fn with(mut good: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').expect("a place");
    good.pointer_mut(parent).expect("its parent")[name] = value;
    good
}

fn job() -> Value {
    json!({
        "jobReference": { "projectId": "p", "jobId": "j", "location": "US" },
        "configuration": {
            "labels": { "k": "v" },
            "jobTimeoutMs": "1000",
            "query": {
                "query": "SELECT @x", "useLegacySql": false, "maximumBytesBilled": "10",
                "queryParameters": [{
                    "name": "x", "parameterType": { "type": "INT64" }, "parameterValue": { "value": "1" },
                }],
            },
        },
    })
}

#[test]
fn what_is_right_passes() {
    let ok = |id: &str| Ok(format!("bigquery.{id}"));
    assert_eq!(request("POST", JOBS, &job()), ok("jobs.insert"));
    assert_eq!(
        request("GET", &format!("{TABLE}?view=BASIC"), &Value::Null),
        ok("tables.get")
    );
    let results = "/bigquery/v2/projects/p/queries/j?maxResults=10&formatOptions.useInt64Timestamp=true&location=US";
    assert_eq!(request("GET", results, &Value::Null), ok("jobs.getQueryResults"));
    let listed = format!("{JOBS}?stateFilter=done&stateFilter=pending&minCreationTime=5&alt=json&prettyPrint=false");
    assert_eq!(request("GET", &listed, &Value::Null), ok("jobs.list"));
    // A label is taken away, and the expiry too.
    let patch = json!({ "labels": { "k": null, "l": "v" }, "expirationTime": null, "description": "x" });
    assert_eq!(request("PATCH", TABLE, &patch), ok("tables.patch"));
    assert_eq!(
        request("POST", &format!("{JOBS}/j/cancel"), &Value::Null),
        ok("jobs.cancel")
    );
    let verb = "/bigquery/v2/projects/p/datasets/d:undelete";
    assert_eq!(request("POST", verb, &json!({})), ok("datasets.undelete"));
    assert!(is_ours("bq-rollback/0.1.0 (bq-snap)") && !is_ours("curl/8") && !is_ours(""));
}

#[test]
fn the_paths_of_methods_have_no_names() {
    let (method, upload) = definition().method("GET", TABLE).expect("a method");
    let path = Method::path(method);
    assert_eq!(
        (path.as_str(), upload),
        ("/bigquery/v2/projects/{}/datasets/{}/tables/{}", false)
    );
}

#[test]
fn a_wrong_request_is_caught() {
    let query = "/configuration/query";
    let at = |name: &str| format!("{query}/{name}");
    for (what, method, target, body) in [
        ("no method is DELETE", "DELETE", JOBS, Value::Null),
        ("no method is POST", "POST", TABLE, json!({})),
        (
            "no method has the path",
            "GET",
            "/bigquery/v2/projects/p/tables/t",
            Value::Null,
        ),
        (
            "no method has the path",
            "GET",
            "/bigquery/v1/projects/p/jobs",
            Value::Null,
        ),
        (
            "no method has the path",
            "GET",
            "/bigquery/v2/projects//jobs",
            Value::Null,
        ),
        (
            "no method has the path",
            "GET",
            "/bigquery/v2/projects/p%2Fq/jobs",
            Value::Null,
        ),
        (
            "pretty: an unknown query parameter",
            "GET",
            "/bigquery/v2/projects/p/jobs?pretty=1",
            Value::Null,
        ),
        (
            "view: `basic`",
            "GET",
            "/bigquery/v2/projects/p/datasets/d/tables/t?view=basic",
            Value::Null,
        ),
        (
            "maxResults: `many`",
            "GET",
            "/bigquery/v2/projects/p/jobs?maxResults=many",
            Value::Null,
        ),
        (
            "maxResults: `-1`",
            "GET",
            "/bigquery/v2/projects/p/jobs?maxResults=-1",
            Value::Null,
        ),
        (
            "allUsers: `yes`",
            "GET",
            "/bigquery/v2/projects/p/jobs?allUsers=yes",
            Value::Null,
        ),
        (
            "maxResults: said twice",
            "GET",
            "/bigquery/v2/projects/p/jobs?maxResults=1&maxResults=2",
            Value::Null,
        ),
        ("a body, and the method takes none", "GET", TABLE, json!({})),
        ("no body", "POST", JOBS, Value::Null),
        ("configuration: required, and missing", "POST", JOBS, json!({})),
        ("an array where an object is wanted", "POST", JOBS, json!([])),
        ("status: output only", "POST", JOBS, with(job(), "/status", json!({}))),
        (
            "jobType: output only",
            "POST",
            JOBS,
            with(job(), "/configuration/jobType", json!("QUERY")),
        ),
        (
            "querry: an unknown field",
            "POST",
            JOBS,
            with(job(), &at("querry"), json!("SELECT 1")),
        ),
        (
            "a boolean is wanted",
            "POST",
            JOBS,
            with(job(), &at("useLegacySql"), json!("false")),
        ),
        (
            "a string of an int64",
            "POST",
            JOBS,
            with(job(), &at("maximumBytesBilled"), json!(10)),
        ),
        (
            "a string of an int64",
            "POST",
            JOBS,
            with(job(), &at("maximumBytesBilled"), json!("10.5")),
        ),
        (
            "a string is wanted",
            "POST",
            JOBS,
            with(job(), "/configuration/labels/k", json!(1)),
        ),
        (
            "a string is wanted",
            "POST",
            JOBS,
            with(job(), "/configuration/labels/k", Value::Null),
        ),
        (
            "queryParameters[0].type: an unknown field",
            "POST",
            JOBS,
            with(job(), "/configuration/query/queryParameters/0/type", json!("INT64")),
        ),
        (
            "parameterValue.value: the number 1",
            "POST",
            JOBS,
            with(
                job(),
                "/configuration/query/queryParameters/0/parameterValue/value",
                json!(1),
            ),
        ),
        ("numRows: output only", "PATCH", TABLE, json!({ "numRows": "1" })),
        (
            "expirationTime: the number",
            "PATCH",
            TABLE,
            json!({ "expirationTime": 1 }),
        ),
        ("uploadType", "POST", "/upload/bigquery/v2/projects/p/jobs", job()),
    ] {
        let wrong = request(method, target, &body).expect_err(what);
        assert!(wrong.len() == 1 && wrong[0].contains(what), "{what}: {wrong:?}");
    }
    // An enumeration of a body.
    let dataset = json!({
        "datasetReference": { "projectId": "p", "datasetId": "d" }, "storageBillingModel": "CUBIC",
    });
    let wrong = request("POST", "/bigquery/v2/projects/p/datasets", &dataset).expect_err("an enumeration");
    assert!(
        wrong[0].starts_with("storageBillingModel: `CUBIC` where one of"),
        "{wrong:?}"
    );
    let mut plain = ask("POST", JOBS, &job());
    plain.headers.remove(CONTENT_TYPE);
    assert!(
        definition().request(&plain, &json_of(&plain)).is_err(),
        "no Content-Type"
    );
}

#[test]
fn a_wrong_answer_is_caught() {
    let table = json!({
        "kind": "bigquery#table", "numRows": "3", "type": "TABLE", "creationTime": "1",
        "lastModifiedTime": "18446744073709551615", "clustering": { "fields": ["a"] },
        "schema": { "fields": [{ "name": "s", "type": "RECORD", "fields": [{ "name": "i", "type": "INT64" }] }] },
        "snapshotDefinition": { "snapshotTime": "2026-01-01T00:00:00.123Z" },
        "numPartitions": "1",
    });
    assert_eq!(answer("GET", TABLE, &table), Ok("bigquery.tables.get".to_owned()));
    for (what, pointer, value) in [
        ("rows: an unknown field", "/rows", json!(3)),
        ("numRows: the number 3", "/numRows", json!(3)),
        ("numRows: `three`", "/numRows", json!("three")),
        ("lastModifiedTime: `-1`", "/lastModifiedTime", json!("-1")),
        ("type: an array", "/type", json!([])),
        ("type: null", "/type", Value::Null),
        ("clustering.fields: the string `a`", "/clustering/fields", json!("a")),
        (
            "schema.fields[0].fields[0].kind: an unknown field",
            "/schema/fields/0/fields/0/kind",
            json!("x"),
        ),
        (
            "snapshotDefinition.snapshotTime: `yesterday`",
            "/snapshotDefinition/snapshotTime",
            json!("yesterday"),
        ),
    ] {
        let wrong = answer("GET", TABLE, &with(table.clone(), pointer, value)).expect_err(what);
        assert!(wrong.len() == 1 && wrong[0].contains(what), "{what}: {wrong:?}");
    }
    let rows = json!({ "rows": [{ "f": [{ "v": null }, { "v": [{ "v": "1" }] }] }], "cacheHit": false });
    assert!(answer("GET", "/bigquery/v2/projects/p/queries/j", &rows).is_ok());
    assert!(
        answer("PUT", "/bigquery/v2/projects/p/queries/j", &rows).is_err(),
        "a wrong method"
    );
    assert!(
        answer("GET", "/bigquery/v2/projects/p/query/j", &rows).is_err(),
        "a wrong path"
    );
    assert!(answer("DELETE", TABLE, &Value::Null).is_ok() && answer("DELETE", TABLE, &json!({})).is_err());
}

#[test]
fn an_upload_is_judged_by_its_json_part() {
    let upload = |job: &Value| {
        let body = format!(
            "--=b=\r\ncontent-type: application/json; charset=UTF-8\r\n\r\n{job}\r\n--=b=\r\n\
             content-type: */*\r\n\r\na,b\r\n--=b=--"
        );
        let mut ask = ask(
            "POST",
            "/upload/bigquery/v2/projects/p/jobs?uploadType=multipart",
            &Value::Null,
        );
        ask.headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("multipart/related; boundary=\"=b=\""),
        );
        ask.body = body.into();
        let judged = definition().request(&ask, &json_of(&ask));
        judged.map(|method| method.id.clone())
    };
    let load = json!({
        "jobReference": { "projectId": "p", "jobId": "j" },
        "configuration": { "load": {
            "destinationTable": { "projectId": "p", "datasetId": "d", "tableId": "t" }, "sourceFormat": "CSV",
        } },
    });
    assert_eq!(upload(&load), Ok("bigquery.jobs.insert".to_owned()));
    let wrong = upload(&with(load, "/configuration/load/quote", json!("''"))).expect_err("a quote of two");
    let what = vec!["configuration.load.quote: `''` where a string of at most one character is wanted".to_owned()];
    let method = Some("bigquery.jobs.insert".to_owned());
    assert_eq!(wrong, Wrong { method, what });
}

#[test]
fn a_document_that_is_not_understood_is_refused() {
    let document = |schema: Value| {
        let get = json!({ "id": "x.get", "httpMethod": "GET", "flatPath": "x", "response": { "$ref": "X" } });
        json!({
            "revision": "1", "servicePath": "x/", "parameters": {}, "schemas": { "X": schema },
            "resources": { "x": { "methods": { "get": get } } },
        })
        .to_string()
    };
    assert!(Definition::of(&document(json!({ "type": "object" }))).is_ok());
    for (schema, why) in [
        (json!({ "type": "string", "format": "int128" }), "int128"),
        (json!({ "type": "tuple" }), "tuple"),
        (json!({ "type": "array", "items": { "$ref": "Y" } }), "no schema `Y`"),
        (json!({ "type": "string", "pattern": "a+" }), "a+"),
    ] {
        let error = Definition::of(&document(schema)).expect_err(why);
        assert!(error.contains(why), "{error}");
    }
    assert!(Definition::of("{}").is_err());
}

#[test]
fn text_of_a_url() {
    assert_eq!(decoded("a%2Fb%zz%"), "a/b%zz%");
    let pairs: Vec<_> = parameters("/x?a=1+2&b&c=%2B").collect();
    assert_eq!(
        pairs,
        [("a", "1 2"), ("b", ""), ("c", "+")].map(|(k, v)| (k.into(), v.into()))
    );
    assert_eq!(parameters("/x").count(), 0);
}

/// The crash loop sends a hundred thousand.
#[test]
fn judging_is_cheap() {
    const TIMES: u32 = 2_000;
    let definition = definition();
    let (insert, look) = (ask("POST", JOBS, &job()), ask("GET", TABLE, &Value::Null));
    let json = json_of(&insert);
    let began = std::time::Instant::now();
    for _ in 0..TIMES {
        assert!(definition.request(&insert, &json).is_ok() && definition.request(&look, &Value::Null).is_ok());
    }
    let each = began.elapsed() / (2 * TIMES);
    eprintln!("conformance: {each:?} a request");
    assert!(each < std::time::Duration::from_millis(1), "{each:?}");
}

#[test]
fn an_upload_that_goes_on_is_judged_by_what_it_brings() {
    let place = "/upload/bigquery/v2/projects/p/jobs?uploadType=resumable&upload_id=x";
    let put = |target: &str, range: Option<&str>, length: usize| {
        let mut ask = ask("PUT", target, &Value::Null);
        ask.headers.remove(CONTENT_TYPE);
        if let Some(range) = range {
            ask.headers.insert("content-range", range.parse().expect("a header"));
        }
        ask.body = vec![b'1'; length].into();
        let judged = definition().request(&ask, &json_of(&ask));
        judged.map(|method| method.id.clone()).map_err(|wrong| wrong.what)
    };
    for (range, length) in [
        ("bytes 0-262143/300000", 262_144),
        ("bytes 0-524287/*", 524_288),
        ("bytes 262144-299999/300000", 37_856),
        ("bytes */300000", 0),
    ] {
        assert_eq!(
            put(place, Some(range), length),
            Ok("bigquery.jobs.insert".to_owned()),
            "{range}"
        );
    }
    for (what, range, length) in [
        ("multiples of 262144", Some("bytes 0-9/300000"), 10),
        ("multiples of 262144", Some("bytes 0-9/*"), 10),
        ("with 11 bytes", Some("bytes 0-9/10"), 11),
        ("with 10 bytes", Some("bytes 0-9/9"), 10),
        ("with 1 bytes", Some("bytes 9-0/9"), 1),
        ("asks what has landed", Some("bytes */10"), 1),
        ("`Content-Range: 0-9/10`", Some("0-9/10"), 10),
        ("`Content-Range: bytes a-b/10`", Some("bytes a-b/10"), 10),
        ("without `Content-Range`", None, 10),
    ] {
        let wrong = put(place, range, length).expect_err(what);
        assert!(wrong.len() == 1 && wrong[0].contains(what), "{what}: {wrong:?}");
    }
    let other = "/upload/bigquery/v2/projects/p/jobs?upload_id=x";
    assert!(
        put(other, Some("bytes */3"), 0).is_err(),
        "not the address that was answered"
    );
    let plain = "/bigquery/v2/projects/p/jobs?uploadType=resumable&upload_id=x";
    assert!(put(plain, Some("bytes */3"), 0).is_err(), "no place for uploads");
    let begun = |how: &str| {
        request(
            "POST",
            &format!("/upload/bigquery/v2/projects/p/jobs?uploadType={how}"),
            &job(),
        )
    };
    assert_eq!(begun("resumable"), Ok("bigquery.jobs.insert".to_owned()));
    let wrong = begun("multipart").expect_err("one part");
    assert_eq!(wrong, ["uploadType=multipart, and a body of one part"]);
}
