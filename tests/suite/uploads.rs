//! Load jobs whose file is in the request, through the gateway: what passes, what is recorded, what is refused, and an
//! upload that is cut in the middle and goes on.

use crate::bq_local;
use crate::scene::PROJECT;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE, USER_AGENT};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tests::gateway::{Call, Gateway, GatewayOptions};
use tests::tls::Certificate;

/// What every chunk of an upload but the last is a multiple of.
const UNIT: usize = 256 * 1024;

/// A gateway with these faults, over https if there is a certificate.
fn gateway(faults: &str, tls: Option<Certificate>) -> Gateway {
    let options = GatewayOptions {
        faults: faults.parse().unwrap(),
        tls,
        ..GatewayOptions::default()
    };
    Gateway::start(bq_local::shared().url(), options).unwrap()
}

fn wait<T>(doing: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(doing)
}

fn client() -> Client {
    let client = Client::builder().no_proxy().danger_accept_invalid_certs(true);
    client.redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

/// As one of our programs: what does not conform is refused.
fn ours(request: RequestBuilder) -> RequestBuilder {
    request.header(USER_AGENT, "bq-rollback/0 (bq-restore)")
}

fn job(id: &str, table: &str) -> Value {
    let field = json!({ "name": "id", "type": "INTEGER", "mode": "REQUIRED" });
    json!({
        "jobReference": { "projectId": PROJECT, "jobId": id, "location": "US" },
        "configuration": { "load": {
            "destinationTable": { "projectId": PROJECT, "datasetId": "uploads", "tableId": table },
            "sourceFormat": "CSV",
            "schema": { "fields": [field] },
        } },
    })
}

fn dataset() {
    let body = json!({ "datasetReference": { "projectId": PROJECT, "datasetId": "uploads" } });
    let url = format!("{}/bigquery/v2/projects/{PROJECT}/datasets", bq_local::shared().url());
    let made = wait(client().post(url).json(&body).send()).unwrap().status();
    assert!(made == StatusCode::OK || made == StatusCode::CONFLICT, "{made}");
}

/// The rows that a job loaded, once it has ended.
async fn loaded(client: &Client, id: &str) -> Value {
    let url = format!("{}/bigquery/v2/projects/{PROJECT}/jobs/{id}", bq_local::shared().url());
    loop {
        let job: Value = client.get(&url).send().await.unwrap().json().await.unwrap();
        if job["status"]["state"] == "DONE" {
            assert_eq!(job["status"]["errorResult"], Value::Null, "{job}");
            return job["statistics"]["load"]["outputRows"].clone();
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

fn chunk(client: &Client, place: &str, told: String, part: &[u8]) -> RequestBuilder {
    let range = format!("bytes {told}");
    ours(client.put(place)).header(CONTENT_RANGE, range).body(part.to_vec())
}

async fn begun(client: &Client, gateway: &Gateway, job: &Value) -> String {
    let url = format!(
        "{}/upload/bigquery/v2/projects/{PROJECT}/jobs?uploadType=resumable",
        gateway.url()
    );
    let answer = ours(client.post(url)).json(job).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let place = answer.headers()[LOCATION].to_str().unwrap().to_owned();
    assert!(place.starts_with(&format!("{}/upload/", gateway.url())), "{place}");
    place
}

#[test]
fn a_resumable_upload_is_cut_and_goes_on() {
    dataset();
    let data: String = (0..100_000).map(|n| format!("{n:07}\n")).collect();
    let data = data.as_bytes();
    let size = data.len();
    // 1 begins it, 2 lands; 3 never arrives; 4 and 7 arrive, their answers do not; 5 and 8 ask what has landed.
    let gateway = gateway("3 : reset\n4 : apply-then-drop\n7 : apply-then-drop", None);
    let id = "upload_upload";
    let rows = wait(async {
        let client = client();
        let place = begun(&client, &gateway, &job(id, id)).await;
        let all = |from: usize, to: usize| {
            chunk(&client, &place, format!("{from}-{}/{size}", to - 1), &data[from..to]).send()
        };
        let landed = |range: &str| Some(format!("bytes=0-{range}"));
        let range = |answer: reqwest::Response| {
            assert_eq!(answer.status(), 308);
            answer
                .headers()
                .get(RANGE)
                .map(|range| range.to_str().unwrap().to_owned())
        };
        assert_eq!(range(all(0, UNIT).await.unwrap()), landed("262143"));
        assert!(all(UNIT, 2 * UNIT).await.is_err());
        assert!(all(UNIT, 2 * UNIT).await.is_err());
        let probe = || chunk(&client, &place, format!("*/{size}"), b"").send();
        assert_eq!(range(probe().await.unwrap()), landed("524287"));
        // The same once more: what is there already is passed over.
        assert_eq!(range(all(UNIT, 2 * UNIT).await.unwrap()), landed("524287"));
        assert!(all(2 * UNIT, size).await.is_err());
        let answer = probe().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.json::<Value>().await.unwrap()["jobReference"]["jobId"], id);
        loaded(&client, id).await
    });
    assert_eq!(rows, "100000");
    assert_eq!(gateway.nonconforming(), Vec::<String>::new());
    let told = |call: Call| (call.method, call.status, call.body.is_null());
    let calls: Vec<_> = gateway.calls().into_iter().map(told).collect();
    let put = |status| ("PUT".to_owned(), status, true);
    let expected = [
        ("POST".to_owned(), Some(200), false),
        put(Some(308)),
        put(None),
        put(None),
        put(Some(308)),
        put(Some(308)),
        put(None),
    ];
    assert_eq!(calls[..7], expected);
    // The answer to the last question is the job.
    assert_eq!((calls[7].0.as_str(), calls[7].1, calls.len()), ("PUT", Some(200), 8));
}

#[test]
fn an_upload_in_one_piece_passes_byte_for_byte() {
    dataset();
    let gateway = gateway("", None);
    let id = "upload_whole";
    let rows = wait(async {
        let client = client();
        let job = job(id, id);
        let url = format!(
            "{}/upload/bigquery/v2/projects/{PROJECT}/jobs?uploadType=multipart",
            gateway.url()
        );
        let head = format!(
            "--b\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{job}\r\n--b\r\nContent-Type: */*\r\n\r\n"
        );
        // Compressed, and so no UTF-8: `1\n2\n3\n`.
        let packed = [
            0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3, 0x33, 0xe4, 0x32, 0xe2, 0x32, 0xe6, 2, 0, 0xd8, 0x54, 0x5f, 0x77, 6, 0,
            0, 0,
        ];
        let body = [head.as_bytes(), &packed, b"\r\n--b--"].concat();
        let kind = "multipart/related; boundary=b";
        let answer = ours(client.post(&url))
            .header(CONTENT_TYPE, kind)
            .body(body)
            .send()
            .await;
        assert_eq!(answer.unwrap().status(), 200);
        loaded(&client, id).await
    });
    assert_eq!(rows, "3");
    let calls = gateway.calls();
    assert_eq!(calls[0].body, job(id, id), "the JSON part is recorded");
    assert_eq!(gateway.nonconforming(), Vec::<String>::new());
}

#[test]
fn over_https_the_address_of_an_upload_is_https_too() {
    dataset();
    let gateway = gateway("", Some(Certificate::of_localhost().unwrap()));
    let id = "upload_https";
    let rows = wait(async {
        let client = client();
        let place = begun(&client, &gateway, &job(id, id)).await;
        assert!(place.starts_with("https://"));
        let answer = chunk(&client, &place, "0-3/4".to_owned(), b"1\n2\n").send().await;
        assert_eq!(answer.unwrap().status(), 200);
        loaded(&client, id).await
    });
    assert_eq!(rows, "2");
}

#[test]
fn a_chunk_that_is_not_what_it_says_is_refused() {
    dataset();
    let options = GatewayOptions {
        unlisted: true,
        ..GatewayOptions::default()
    };
    let gateway = Gateway::start(bq_local::shared().url(), options).unwrap();
    wait(async {
        let client = client();
        let place = begun(&client, &gateway, &job("upload_bad", "bad")).await;
        for (told, part) in [
            ("0-9/100", 10),
            ("0-9/*", 10),
            ("0-8/10", 10),
            ("*/10", 3),
            ("0-9/5", 10),
            ("x", 10),
        ] {
            let answer = chunk(&client, &place, told.to_owned(), &vec![b'1'; part])
                .send()
                .await
                .unwrap();
            let status = answer.status();
            let text = answer.text().await.unwrap();
            assert!(
                status == 400 && text.contains("not conforming"),
                "{told}: {status} {text}"
            );
        }
    });
    assert_eq!(gateway.nonconforming().len(), 6);
}
