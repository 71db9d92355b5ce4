//! Resources that unauthenticated peers hold open, and their timeouts.

use axum::extract::Request;
use hyper::client::conn::http2;

use super::*;
use crate::body_limit;

/// Long enough for a busy machine; the wait ends at once when the awaited event happens.
const PATIENCE: Duration = Duration::from_secs(20);
/// HTTP/2's default window (RFC 9113, section 6.9.2).
const WINDOW: u32 = 65_535;

/// An HTTP/2 client on one connection, which answers pings; and a task that ends with the
/// connection.
async fn http2(
    server: &Server,
    window: u32,
) -> (http2::SendRequest<Body>, JoinHandle<hyper::Result<()>>) {
    let io = TokioIo::new(server.connect().await);
    let mut builder = http2::Builder::new(TokioExecutor::new());
    let (client, connection) =
        builder.initial_stream_window_size(window).handshake(io).await.unwrap();
    (client, tokio::spawn(connection))
}

async fn get(client: &mut http2::SendRequest<Body>, path: &str) -> http::Response<Incoming> {
    let uri = format!("http://a{path}");
    client.send_request(Request::get(uri).body(Body::empty()).unwrap()).await.unwrap()
}

#[tokio::test]
async fn an_http2_connection_that_got_one_404_and_answers_pings_is_closed_when_it_is_idle() {
    let server = Server::plain(hello_router(), Limits { idle_wait: SHORT, ..limits() });
    let (mut client, connection) = http2(&server, WINDOW).await;
    assert_eq!(get(&mut client, "/nothing").await.status(), 404);
    let ended = tokio::time::timeout(PATIENCE, connection).await;
    ended.expect("it stays").unwrap().unwrap();
}

#[tokio::test]
async fn an_http2_connection_whose_peer_opens_no_window_is_closed() {
    let server = Server::plain(hello_router(), Limits { write_wait: SHORT, ..limits() });
    let (mut client, connection) = http2(&server, 0).await;
    let _answer = get(&mut client, "/").await;
    let ended = tokio::time::timeout(PATIENCE, connection).await;
    let _ = ended.expect("it stays").unwrap(); // In whatever way it was cut.
}

#[tokio::test]
async fn a_connection_whose_peer_never_reads_is_closed() {
    let router = hello_router().route("/big", axum::routing::get(async || vec![0; 32 << 20]));
    let limits = Limits { write_wait: SHORT, ..limits() };
    let server = Server::sharing(router, limits, Shares::unshared(1));
    let mut deaf = server.connect().await;
    deaf.write_all(b"GET /big HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    // The only permit is free again only if the first connection was closed.
    let mut next = server.connect().await;
    let answer = tokio::time::timeout(PATIENCE, ask(&mut next, "/")).await;
    assert!(answer.expect("it stays").starts_with("HTTP/1.1 200"));
    drop(deaf);
}

#[tokio::test]
async fn one_address_leaves_places_to_others() {
    let shares = Shares { per_network_max: 1, ..Shares::unshared(3) };
    let server = Server::sharing(hello_router(), limits(), shares);
    let mut first = server.connect().await;
    ask(&mut first, "/").await;
    let mut second = server.connect().await;
    let _ = second.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut answer = Vec::new();
    let _ = second.read_to_end(&mut answer).await; // A reset, or the end.
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = socket.connect(server.address).await.unwrap();
    assert!(ask(&mut other, "/").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_request_that_does_not_name_one_host_is_refused() {
    let server = Server::plain(hello_router(), limits());
    for head in ["GET / HTTP/1.1\r\nhost: a\r\nHost: b\r\n\r\n", "GET / HTTP/1.1\r\nx: y\r\n\r\n"] {
        let mut stream = server.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    let (mut client, _connection) = http2(&server, WINDOW).await;
    for (host, status) in [("a", 200), ("b", 400)] {
        let request = Request::get("http://a/").header("host", host).body(Body::empty()).unwrap();
        assert_eq!(client.send_request(request).await.unwrap().status(), status, "{host}");
    }
}

#[tokio::test]
async fn a_request_with_two_lengths_is_refused_and_nothing_behind_it_is_read() {
    let paths = Arc::new(Mutex::new(Vec::new()));
    let seen = paths.clone();
    let router = Router::new().fallback(async move |request: Request| {
        seen.lock().unwrap().push(request.uri().path().to_owned());
        let _ = body_limit::any(request).await;
        "done!"
    });
    let server = Server::plain(router, limits());
    let chunked = "POST /chunked HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
                   2\r\nhi\r\n0\r\n\r\n";
    let lengths = ["content-length: 4\r\n", "transfer-encoding: chunked\r\n"];
    for (before, [first, second]) in [("", [0, 1]), ("", [1, 0]), (chunked, [0, 1])] {
        let (first, second) = (lengths[first], lengths[second]);
        let request = format!(
            "{before}POST /smuggling HTTP/1.1\r\nhost: a\r\n{first}{second}\r\n0\r\n\r\n\
             GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"
        );
        let mut stream = server.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answers = Vec::new();
        let _ = stream.read_to_end(&mut answers).await; // The unread rest may make it a reset.
        let answers = String::from_utf8(answers).unwrap();
        let last = answers.strip_prefix(&answers[..answers.rfind("HTTP/1.1").unwrap()]).unwrap();
        assert!(last.starts_with("HTTP/1.1 400"), "{answers}");
        assert!(last.contains("connection: close"), "{answers}");
    }
    assert_eq!(*paths.lock().unwrap(), ["/chunked"]);
}

fn refusing_router() -> Router {
    hello_router().route("/refused", post(async || (StatusCode::UNAUTHORIZED, "no!")))
}

#[tokio::test]
async fn a_client_that_is_refused_before_its_body_was_read_goes_on_with_its_connection() {
    let server = Server::plain(refusing_router(), limits());
    let mut stream = server.connect().await;
    let head = b"POST /refused HTTP/1.1\r\nhost: a\r\ncontent-length: 200000\r\n\r\n";
    stream.write_all(head).await.unwrap();
    stream.write_all(&vec![b'x'; 200_000]).await.unwrap();
    assert!(read_answer(&mut stream).await.starts_with("HTTP/1.1 401"));
    assert!(ask(&mut stream, "/").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn whoever_is_refused_is_not_waited_for_long() {
    let server = Server::plain(refusing_router(), limits());
    for length in [1_000, 1 << 30] {
        let mut stream = server.connect().await;
        let head = format!("POST /refused HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = tokio::time::timeout(PATIENCE, read_answer(&mut stream)).await;
        assert!(answer.expect("the body is waited for").starts_with("HTTP/1.1 401"));
    }
}

#[tokio::test]
async fn bodies_that_are_not_finished_take_no_more_memory_than_all_may() {
    let read = async |request: Request| match body_limit::any(request).await {
        Ok(_) => (StatusCode::OK, "!"),
        Err(body_limit::BodyRefusal::Busy) => (StatusCode::SERVICE_UNAVAILABLE, "!"),
        Err(_) => (StatusCode::BAD_REQUEST, "!"),
    };
    let router = Router::new().route("/", post(read));
    let server = Server::plain(router, limits());
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut stream = server.connect().await;
        let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 260000\r\n\r\n";
        stream.write_all(head).await.unwrap();
        stream.write_all(&vec![b'x'; 250_000]).await.unwrap();
        held.push(stream);
    }
    let post = async || {
        let mut stream = server.connect().await;
        let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n";
        stream.write_all(head).await.unwrap();
        stream.write_all(&vec![b'x'; 100_000]).await.unwrap();
        read_answer(&mut stream).await
    };
    let until = async |status: &str| while !post().await.contains(status) {};
    let full = tokio::time::timeout(PATIENCE, until(" 503 ")).await;
    full.expect("the bodies are held without a bound");
    drop(held);
    let given_back = tokio::time::timeout(PATIENCE, until(" 200 ")).await;
    given_back.expect("the memory is not given back");
}

#[tokio::test]
async fn a_pool_without_a_place_for_strangers_says_that_it_is_full() {
    let shares = Shares { reserved: 1, ..Shares::unshared(2) };
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), None, limits(), shares);
    let listener = listener.unwrap();
    let (address, limit, tasks) = (listener.address(), listener.limit(), Shutdown::default());
    let served = tokio::spawn(listener.serve(hello_router(), tasks.clone(), tasks.draining()));
    assert!(!limit.is_full());
    let mut stream = TcpStream::connect(address).await.unwrap();
    ask(&mut stream, "/").await;
    assert!(limit.is_full());
    tasks.start_draining();
    served.await.unwrap();
}
