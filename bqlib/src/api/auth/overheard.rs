//! What gcp_auth says of an answer nowhere but in its events: the status, without which a refusal cannot be told from a
//! server in trouble. Nothing else of its events is kept.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::trouble::Said;

/// Listens while a future runs under it (`tracing::instrument::WithSubscriber`).
#[derive(Clone, Default)]
pub(super) struct Ear(Arc<Mutex<Said>>);

impl Ear {
    /// What was said of the last answer.
    pub(super) fn heard(&self) -> Said {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Subscriber for Ear {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target().starts_with("gcp_auth")
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::WARN)
    }

    fn event(&self, event: &Event<'_>) {
        let mut listening = Listening(Said::default());
        event.record(&mut listening);
        // Its other events have no status: they are about the tries.
        if listening.0.status.is_some() {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = listening.0;
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Listening(Said);

impl Visit for Listening {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "status" => self.0.status = format!("{value:?}").parse().ok(),
            "body" => self.0.hear(&format!("{value:?}")),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing::instrument::WithSubscriber as _;

    use super::*;

    #[tokio::test]
    async fn the_status_is_heard_and_the_body_is_not_kept() {
        let ear = Ear::default();
        let talk = async {
            tracing::warn!(target: "gcp_auth::types", body = %"{\"error\": \"invalid_grant\", \"planted-secret\": 1}",
                status = ?400_u16, "token request failed");
            tracing::warn!(target: "gcp_auth::types", retries = 1, "trying again");
            tracing::warn!(target: "another", status = ?503_u16, "not meant");
        };
        talk.with_subscriber(ear.clone()).await;
        assert_eq!(ear.heard().to_string(), "HTTP 400 (invalid_grant)");
    }
}
