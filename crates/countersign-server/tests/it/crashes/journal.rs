//! The journal of all answers: applications, devices and receivers record every answer, and
//! contradictions fail the test.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use countersign_device::{State, TransactionId};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::receiver::Call;

/// The journal, shared by all.
#[derive(Default)]
pub(super) struct Shelf {
    journal: Mutex<Journal>,
    written: Notify,
}

#[derive(Default)]
pub(super) struct Journal {
    /// By the applications' references.
    asked: BTreeMap<String, StartRecord>,
    /// References, by the devices' names for transactions.
    names: BTreeMap<String, String>,
    answers: usize,
    answers_before: usize,
    calls: usize,
    calls_repeated: usize,
    resumed: usize,
    ends: BTreeMap<&'static str, usize>,
}

/// A transaction that was requested, and the answers about it.
#[derive(Clone)]
pub(super) struct StartRecord {
    pub(super) user: String,
    pub(super) body: Value,
    pub(super) is_called_back: bool,
    /// The application's answer.
    answer: Option<Value>,
    /// Its end, by any answer; with the device, if it is known.
    end: Option<&'static str>,
    /// The id and the body of its callback.
    call: Option<(String, Vec<u8>)>,
    /// The row with its end, as it was first read.
    row: Option<Row>,
}

/// The ledger's row of a transaction.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Row {
    reference: String,
    state: String,
    /// Everything about its end, which must never change again.
    end: String,
}

impl Row {
    pub(super) const QUERY: &str = "SELECT reference, state, version || ' ' || coalesce(ended_at, '') \
         || ' ' || coalesce(ended_by, '') || ' ' || coalesce(hex(evidence), '') FROM transactions";

    pub(super) fn read(line: &str) -> Self {
        let mut columns = line.split('|').map(str::to_owned);
        let mut next = || columns.next().expect("three columns");
        Self { reference: next(), state: next(), end: next() }
    }
}

impl Shelf {
    fn open(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Records an entry.
    pub(super) fn write<T>(&self, entry: impl FnOnce(&mut Journal) -> T) -> T {
        let written = entry(&mut self.open());
        self.written.notify_waiters();
        written
    }

    /// Waits until the journal is as wanted.
    pub(super) async fn until(&self, patience: Duration, wanted: impl Fn(&Journal) -> bool) {
        let waited = tokio::time::timeout(patience, async {
            loop {
                let written = self.written.notified();
                if wanted(&self.open()) {
                    return;
                }
                written.await;
            }
        });
        assert!(waited.await.is_ok(), "it does not come about: {}", self.open().open_ones());
    }

    /// Starts a new round: answers are counted from here.
    pub(super) fn new_day(&self) {
        self.write(|journal| journal.answers_before = journal.answers);
    }

    /// Compares with the data on disk: all that was acknowledged is there, as it was acknowledged,
    /// and recorded ends have not changed.
    pub(super) fn compare(&self, rows: &[Row]) {
        let mut journal = self.open();
        let rows: BTreeMap<&str, &Row> = rows.iter().map(|row| (&*row.reference, row)).collect();
        for (reference, asked) in &mut journal.asked {
            let Some(row) = rows.get(reference.as_str()).copied() else {
                let told = asked.answer.is_some() || asked.end.is_some() || asked.row.is_some();
                assert!(!told, "{reference} was acknowledged, and is missing");
                continue;
            };
            if let Some(end) = asked.end {
                assert_eq!(row.state, end, "{reference} was acknowledged");
            }
            if let Some(before) = &asked.row {
                assert_eq!(row, before, "{reference} had ended");
            }
            if !["waiting", "taken"].contains(&&*row.state) {
                asked.row = Some(row.clone());
            }
        }
        for reference in rows.keys() {
            assert!(journal.asked.contains_key(*reference), "no application asked for {reference}");
        }
    }

    /// The requests to repeat: some of those that were answered, and all others.
    pub(super) fn asked(
        &self,
        wanted: impl Fn(&StartRecord) -> bool,
    ) -> Vec<(String, StartRecord)> {
        let journal = self.open();
        let asked = journal.asked.iter().filter(|(_, asked)| wanted(asked));
        asked.map(|(reference, asked)| (reference.clone(), asked.clone())).collect()
    }

    /// Every signature in an answer or a callback, in base64.
    pub(super) fn signatures(&self) -> Vec<(String, String)> {
        let journal = self.open();
        let told = journal.asked.iter().flat_map(|(reference, asked)| {
            let called = asked.call.as_ref().map(|(_, body)| serde_json::from_slice(body).unwrap());
            let both = asked.answer.clone().into_iter().chain(called);
            both.map(move |answer: Value| (reference.clone(), answer))
        });
        let signature = |answer: &Value| answer["data"]["signature"].as_str().map(str::to_owned);
        told.filter_map(|(reference, answer)| Some((reference, signature(&answer)?))).collect()
    }

    pub(super) fn summary(&self) -> String {
        let journal = self.open();
        format!(
            "{} transactions ({:?}), {} answers, {} callbacks and {} of them again, {} finishes \
             resumed",
            journal.asked.len(),
            journal.ends,
            journal.answers,
            journal.calls,
            journal.calls_repeated,
            journal.resumed,
        )
    }

    /// Checks that the run contained the events that it is meant to test.
    pub(super) fn assert_worth_it(&self) {
        let journal = self.open();
        for end in ["finished", "declined", "cancelled"] {
            assert!(
                journal.ends.get(end).is_some_and(|count| *count > 3),
                "{end}: {:?}",
                journal.ends
            );
        }
        assert!(journal.calls > 10, "hardly anybody was called back");
        assert!(journal.resumed > 0, "no finish was handed in again");
    }
}

impl Journal {
    /// An application is about to send a request.
    pub(super) fn asks(&mut self, reference: &str, user: &str, body: &Value) {
        let is_called_back = body.get("callbackUrl").is_some();
        let (user, body) = (user.to_owned(), body.clone());
        let asked = StartRecord {
            user,
            body,
            is_called_back,
            answer: None,
            end: None,
            call: None,
            row: None,
        };
        assert!(self.asked.insert(reference.to_owned(), asked).is_none(), "names are new");
    }

    /// An application was answered.
    pub(super) fn answered(&mut self, reference: &str, (status, answer): (StatusCode, Value)) {
        assert_eq!(status, StatusCode::OK, "{reference}: {answer}");
        self.answers += 1;
        let asked = self.asked.get_mut(reference).expect("it was asked for");
        if let Some(before) = &asked.answer {
            assert_eq!(&answer, before, "{reference}: the same request, another answer");
            return;
        }
        if asked.is_called_back {
            assert_eq!(answer["data"], json!("OK"), "{answer}");
            asked.answer = Some(answer);
        } else {
            let end = end_of(&answer);
            asked.answer = Some(answer);
            self.ended(reference, end);
        }
    }

    /// A receiver was called.
    pub(super) fn called(&mut self, call: &Call) {
        let answer: Value = serde_json::from_slice(&call.body).unwrap();
        let reference = answer["data"]["transactionId"].as_str().unwrap().to_owned();
        let heard = (call.id().to_owned(), call.body.clone());
        self.calls += 1;
        let asked = self.asked.get_mut(&reference).expect("it was asked for");
        assert!(asked.is_called_back, "{reference} is answered");
        if let Some(before) = &asked.call {
            assert_eq!(&heard, before, "{reference} is called back with");
            self.calls_repeated += 1;
        }
        asked.call = Some(heard);
        self.ended(&reference, end_of(&answer));
    }

    /// An end was reported.
    pub(super) fn ended(&mut self, reference: &str, end: &'static str) {
        let asked = self.asked.get_mut(reference).expect("it was asked for");
        match asked.end.replace(end) {
            Some(before) => assert_eq!(end, before, "{reference} ended twice"),
            None => *self.ends.entry(end).or_default() += 1,
        }
    }

    /// A device shows it.
    pub(super) fn shown(&mut self, id: TransactionId, reference: String) {
        self.names.insert(id.to_string(), reference);
    }

    /// A device was told its end.
    pub(super) fn told(&mut self, id: TransactionId, state: State) {
        let end = match state {
            State::Finished => "finished",
            State::Declined => "declined",
            State::Cancelled => "cancelled",
            other => panic!("nothing ends like this here: {other:?}"),
        };
        self.answers += 1;
        let reference = self.names.get(&id.to_string()).expect("it was shown").clone();
        self.ended(&reference, end);
    }

    /// A device sent its stored answer again.
    pub(super) fn resumed(&mut self) {
        self.resumed += 1;
    }

    pub(super) fn answers_since_crash(&self) -> usize {
        self.answers - self.answers_before
    }

    /// Whether an end of this transaction is recorded.
    pub(super) fn is_over(&self, reference: &str) -> bool {
        self.asked[reference].end.is_some()
    }

    /// Whether all expected answers have arrived.
    pub(super) fn is_settled(&self) -> bool {
        self.asked.values().all(StartRecord::is_settled)
    }

    fn open_ones(&self) -> String {
        let open = self.asked.iter().filter(|(_, asked)| !asked.is_settled());
        let open = open.map(|(reference, asked)| {
            format!("{reference} of {}: {:?}, {:?}", asked.user, asked.answer, asked.end)
        });
        open.collect::<Vec<_>>().join("\n")
    }
}

impl StartRecord {
    pub(super) fn is_answered(&self) -> bool {
        self.answer.is_some()
    }

    fn is_settled(&self) -> bool {
        self.answer.is_some() && self.end.is_some() && self.call.is_some() == self.is_called_back
    }
}

/// The end that a result contains.
fn end_of(answer: &Value) -> &'static str {
    match answer["status"].as_str() {
        Some("OK") => "finished",
        Some("USER_CANCEL") => "declined",
        Some("SERVER_CANCEL") => "cancelled",
        other => panic!("nothing ends with {other:?} here: {answer}"),
    }
}
