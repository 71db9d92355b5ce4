//! The activity of one connection: its open requests, and the time until which it may stay as it
//! is.
//!
//! A connection is closed if its first request does not come, if it is idle, if an answer is not
//! read, and when it is old. Hyper has no timers for these over HTTP/2, where a peer that answers
//! pings looks alive.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::response::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

use super::Limits;

/// The open requests of one connection.
#[derive(Debug)]
pub(super) struct Activity {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    has_asked: bool,
    /// Requests whose answers are not yet handed to the connection.
    open: usize,
    /// When to close, if no request is open.
    idle_until: Instant,
    /// Answers that the connection has not yet sent, oldest first, each with its deadline.
    answers: VecDeque<(u64, Instant)>,
    answers_made: u64,
    old_at: Instant,
}

/// The next step of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Next {
    /// Check again at that time.
    LookAt(Instant),
    /// Finish the open requests, and close.
    Finish(&'static str),
    /// Close at once.
    Close(&'static str),
}

/// A request that is open until this is dropped.
#[derive(Debug)]
pub(super) struct OpenRequest {
    activity: Arc<Activity>,
    answer: Option<u64>,
}

impl Activity {
    pub(super) fn new(limits: &Limits) -> Arc<Self> {
        let state = State {
            has_asked: false,
            open: 0,
            idle_until: after(limits.header_wait),
            answers: VecDeque::new(),
            answers_made: 0,
            old_at: after(limits.age_max),
        };
        Arc::new(Self { limits: *limits, state: Mutex::new(state) })
    }

    /// Counts a request.
    pub(super) fn open(self: &Arc<Self>) -> OpenRequest {
        let mut state = self.state.lock();
        state.has_asked = true;
        state.open += 1;
        OpenRequest { activity: Arc::clone(self), answer: None }
    }

    /// The step that is due now. Call this again at the latest at the time that it names: nothing
    /// that begins before then can time out earlier.
    pub(super) fn next(&self) -> Next {
        let state = self.state.lock();
        // A new timer's deadline minus its length is the present time.
        let soon = after(self.limits.shortest());
        let now = soon - self.limits.shortest();
        if let Some((_, until)) = state.answers.front()
            && *until <= now
        {
            return Next::Close("answer_not_taken");
        }
        if state.open == 0 && state.answers.is_empty() && state.idle_until <= now {
            let has_asked = state.has_asked;
            return if has_asked { Next::Finish("idle") } else { Next::Close("no_request") };
        }
        if state.old_at <= now {
            return Next::Finish("old");
        }
        let idle = (state.open == 0 && state.answers.is_empty()).then_some(state.idle_until);
        let answer = state.answers.front().map(|(_, until)| *until);
        let next = [idle, answer, Some(state.old_at)].into_iter().flatten();
        Next::LookAt(next.fold(soon, Instant::min))
    }

    /// Whether no request is open.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.open == 0 && state.answers.is_empty()
    }
}

/// The time when a wait that begins now is over.
pub(super) fn after(wait: Duration) -> Instant {
    tokio::time::sleep(wait).deadline()
}

impl OpenRequest {
    /// Hands the answer to the connection, which must send it before its deadline.
    pub(super) fn answer(mut self, response: Response) -> Response {
        let mut state = self.activity.state.lock();
        state.open -= 1;
        state.answers_made += 1;
        let number = state.answers_made;
        state.answers.push_back((number, after(self.activity.limits.write_wait)));
        drop(state);
        self.answer = Some(number);
        response.map(|body| Body::new(AnswerBody { body, _request: self }))
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let mut state = self.activity.state.lock();
        match self.answer {
            Some(number) => state.answers.retain(|(known, _)| *known != number),
            None => state.open -= 1,
        }
        if state.open == 0 && state.answers.is_empty() {
            state.idle_until = after(self.activity.limits.idle_wait);
        }
    }
}

/// An answer's body; the connection drops it when it has sent all of it.
struct AnswerBody {
    body: Body,
    _request: OpenRequest,
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        let seconds = Duration::from_secs;
        Limits {
            header_wait: seconds(10),
            idle_wait: seconds(30),
            write_wait: seconds(20),
            age_max: seconds(3_600),
            ..Limits::new(seconds(1))
        }
    }

    /// Watches the connection until a step is due; returns the step and its time.
    async fn watched(activity: &Activity, begun: Instant) -> (Next, u64) {
        for _ in 0..1_000 {
            match activity.next() {
                Next::LookAt(at) => tokio::time::sleep_until(at).await,
                next => return (next, begun.elapsed().as_secs()),
            }
        }
        panic!("nothing is ever due");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_first_request_is_closed() {
        let (begun, activity) = (Instant::now(), Activity::new(&limits()));
        assert_eq!(watched(&activity, begun).await, (Next::Close("no_request"), 10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_from_its_last_answer_on() {
        let (begun, activity) = (Instant::now(), Activity::new(&limits()));
        let request = activity.open();
        tokio::time::advance(Duration::from_secs(100)).await;
        assert!(matches!(activity.next(), Next::LookAt(_)), "a caller that waits is cut off");
        drop(request.answer(Response::new(Body::from("done"))));
        assert_eq!(watched(&activity, begun).await, (Next::Finish("idle"), 130));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_not_taken_closes_the_connection_whatever_else_goes_on() {
        let (begun, activity) = (Instant::now(), Activity::new(&limits()));
        let kept = activity.open().answer(Response::new(Body::from("never read")));
        let busy = async {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                drop(activity.open().answer(Response::new(Body::empty())));
            }
        };
        tokio::select! {
            watched = watched(&activity, begun) => {
                assert_eq!(watched, (Next::Close("answer_not_taken"), 20));
            }
            () = busy => {}
        }
        drop(kept);
        assert!(activity.is_idle());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_always_busy_ends_when_it_is_old() {
        let (begun, activity) = (Instant::now(), Activity::new(&limits()));
        let _open = activity.open();
        assert_eq!(watched(&activity, begun).await, (Next::Finish("old"), 3_600));
    }
}
