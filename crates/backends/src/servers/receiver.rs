//! A web server that keeps what is posted to it.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lambda_events::event::s3::S3Event;
use axum::Router;
use axum::extract::State;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Longer than anything takes that ought to happen.
const SOON: Duration = Duration::from_secs(20);

pub(crate) struct Receiver {
    pub(crate) url: String,
    answers: Arc<Mutex<VecDeque<StatusCode>>>,
    posts: UnboundedReceiver<Post>,
}

/// What was posted.
pub(crate) struct Post {
    pub(crate) authorization: Option<String>,
    pub(crate) body: Bytes,
}

impl Post {
    /// As whoever handles S3's notifications reads it.
    pub(crate) fn event(&self) -> S3Event {
        serde_json::from_slice(&self.body).unwrap()
    }
}

type Shared = (Arc<Mutex<VecDeque<StatusCode>>>, UnboundedSender<Post>);

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (sender, posts) = unbounded_channel();
        let answers = Arc::<Mutex<VecDeque<StatusCode>>>::default();
        let app = Router::new().route("/hook", post(Self::take)).with_state((Arc::clone(&answers), sender));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, answers, posts }
    }

    async fn take(State((answers, posts)): State<Shared>, headers: HeaderMap, body: Bytes) -> StatusCode {
        let authorization = headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
        // A test that has heard enough has gone.
        _ = posts.send(Post { authorization, body });
        answers.lock().unwrap().pop_front().unwrap_or(StatusCode::OK)
    }

    /// Answers the next posts so, and 200 again after that.
    pub(crate) fn answer(&self, codes: &[u16]) {
        self.answers.lock().unwrap().extend(codes.iter().map(|code| StatusCode::from_u16(*code).unwrap()));
    }

    /// The next post.
    pub(crate) async fn next(&mut self) -> Post {
        tokio::time::timeout(SOON, self.posts.recv()).await.expect("nothing is posted").unwrap()
    }

    /// The next post, if it has come.
    pub(crate) fn come(&mut self) -> Option<Post> {
        self.posts.try_recv().ok()
    }
}
