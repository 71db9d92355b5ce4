//! Follows the messages of an HTTP/1 connection as they are read, to notice a request that has
//! both `Content-Length` and `Transfer-Encoding`.
//!
//! Such a request may be meant to smuggle a second one past a proxy, and ought to be refused (RFC
//! 9112, section 6.3). Hyper ignores the former, removes it from the headers and closes the
//! connection after the answer. So the request cannot be refused by its headers. This module only
//! watches: it changes no byte and withholds none. It parses with `httparse`, as hyper does. What
//! it cannot parse, it does not follow any further; hyper refuses that itself.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use httparse::{EMPTY_HEADER, Header, Request, Status};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{HEADER_BYTES_MAX, HEADERS_MAX};

/// Counts the requests of one connection, and knows the first with two lengths.
#[derive(Debug)]
pub(super) struct TwoLengths {
    /// The number of the first request with two lengths, from 0; the largest if there is none.
    first: AtomicU64,
    asked: AtomicU64,
}

impl TwoLengths {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { first: AtomicU64::new(u64::MAX), asked: AtomicU64::new(0) })
    }

    /// Counts the request that hyper has read. True if it, or one before it on this connection, has
    /// two lengths.
    pub(super) fn has_next(&self) -> bool {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        number >= self.first.load(Ordering::Acquire)
    }
}

/// A stream whose reads are watched.
pub(super) struct WatchedStream<S> {
    stream: S,
    /// `None` from a part on that is not followed, as in a WebSocket.
    framing: Option<Box<Framing>>,
}

impl<S> WatchedStream<S> {
    pub(super) fn new(stream: S, found: Arc<TwoLengths>) -> Self {
        let framing = Framing { part: Part::Head, partial: Vec::new(), heads: 0, found };
        Self { stream, framing: Some(Box::new(framing)) }
    }

    /// Follows bytes that were read.
    fn watch(&mut self, bytes: &[u8]) {
        let Some(framing) = &mut self.framing else { return };
        framing.read(bytes);
        if matches!(framing.part, Part::Unknown | Part::Refused) {
            self.framing = None;
        }
    }
}

/// The place in the messages up to which a connection was read.
struct Framing {
    part: Part,
    /// The bytes of an incomplete head, chunk size or trailers.
    partial: Vec<u8>,
    /// The complete heads.
    heads: u64,
    found: Arc<TwoLengths>,
}

/// The part of a message that comes next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Part {
    Head,
    /// The rest of a body of known length.
    Body(u64),
    ChunkSize,
    /// The rest of a chunk, with its line end.
    Chunk(u64),
    Trailers,
    /// Not HTTP/1, or invalid.
    Unknown,
    /// The bytes behind a head with two lengths. Hyper does not read them as a request.
    Refused,
}

impl Framing {
    fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (left, next) = match self.part {
                Part::Unknown | Part::Refused => return,
                Part::Body(left) => (left, Part::Head),
                Part::Chunk(left) => (left, Part::ChunkSize),
                Part::Head | Part::ChunkSize | Part::Trailers => {
                    bytes = self.read_text(bytes);
                    continue;
                }
            };
            let skipped = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
            bytes = &bytes[skipped..];
            self.part = match (left - skipped as u64, self.part) {
                (0, _) => next,
                (left, Part::Chunk(_)) => Part::Chunk(left),
                (left, _) => Part::Body(left),
            };
        }
    }

    /// Reads a part whose end must be looked for, and returns the bytes behind it.
    fn read_text<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let before = self.partial.len();
        if before > 0 {
            self.partial.extend_from_slice(bytes);
        }
        let text = if before > 0 { &self.partial } else { bytes };
        let (end, next) = match self.part.end_in(text) {
            Ok(Status::Complete(found)) => found,
            Ok(Status::Partial) if text.len() <= HEADER_BYTES_MAX => {
                if before == 0 {
                    self.partial.extend_from_slice(bytes);
                }
                return &[];
            }
            Ok(Status::Partial) | Err(_) => (before + bytes.len(), Part::Unknown),
        };
        match (self.part, next) {
            (_, Part::Refused) => self.found.first.store(self.heads, Ordering::Release),
            (Part::Head, _) => self.heads += 1,
            _ => (),
        }
        self.partial = Vec::new();
        self.part = next;
        &bytes[end - before..]
    }
}

impl Part {
    /// Looks for the end of this part in `text`, which begins with it: the number of its bytes, and
    /// the next part.
    fn end_in(self, text: &[u8]) -> httparse::Result<(usize, Self)> {
        let mut headers = [EMPTY_HEADER; HEADERS_MAX];
        let found = match self {
            Self::ChunkSize => {
                match httparse::parse_chunk_size(text).map_err(|_| httparse::Error::Token)? {
                    Status::Complete((end, 0)) => (end, Self::Trailers),
                    Status::Complete((end, size)) => (end, Self::Chunk(size.saturating_add(2))),
                    Status::Partial => return Ok(Status::Partial),
                }
            }
            Self::Trailers => match httparse::parse_headers(text, &mut headers)? {
                Status::Complete((end, _)) => (end, Self::Head),
                Status::Partial => return Ok(Status::Partial),
            },
            _ => {
                let mut request = Request::new(&mut headers);
                match request.parse(text)? {
                    Status::Complete(end) => (end, Self::behind(request.headers)),
                    Status::Partial => return Ok(Status::Partial),
                }
            }
        };
        Ok(Status::Complete(found))
    }

    /// The part behind a head with these headers.
    fn behind(headers: &[Header<'_>]) -> Self {
        let named =
            |name: &str| headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        match (named("content-length"), named("transfer-encoding")) {
            (Some(_), Some(_)) => Self::Refused,
            (None, Some(_)) => Self::ChunkSize,
            (None, None) => Self::Head,
            (Some(length), None) => match std::str::from_utf8(length.value).map(str::parse) {
                Ok(Ok(length)) => Self::Body(length),
                _ => Self::Unknown,
            },
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        // An error or a pending read has filled nothing.
        self.watch(&buffer.filled()[before..]);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WatchedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;
    use tokio_rustls::server::TlsStream;

    use super::super::stream::ConnectionStream;
    use super::*;

    /// The bytes that hyper read too far are kept beside a connection.
    const READ_TOO_FAR_BYTES: usize = 32;

    /// Each idle device has one. 1,280 bytes are a size that mimalloc has; the next is 1,536.
    #[test]
    fn a_connection_with_tls_fits_into_1280_bytes() {
        let size = size_of::<WatchedStream<TlsStream<ConnectionStream<TcpStream>>>>();
        assert!(size + READ_TOO_FAR_BYTES <= 1_280, "{size} bytes");
    }

    const SMUGGLED: &str =
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-length: 4\r\n\r\n";

    /// The number of the first request with two lengths, read in pieces of `size` bytes.
    fn first(text: &str, size: usize) -> Option<u64> {
        let found = TwoLengths::new();
        let mut stream = WatchedStream::new((), Arc::clone(&found));
        text.as_bytes().chunks(size).for_each(|piece| stream.watch(piece));
        let first = found.first.load(Ordering::Acquire);
        (first != u64::MAX).then_some(first)
    }

    #[test]
    fn two_lengths_are_found_behind_each_kind_of_message() {
        let before = [
            "",
            "\r\n",
            "GET /a HTTP/1.1\r\nhost: a\r\n\r\n",
            "POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nabcde",
            "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n",
            "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nDigest: x\r\n\r\n",
        ];
        for one in before {
            for two in before {
                let text = format!("{one}{two}{SMUGGLED}0\r\n\r\nGET / HTTP/1.1\r\n\r\n");
                let heads = [one, two].iter().filter(|text| text.contains("HTTP")).count() as u64;
                for size in [1, 2, 7, 64, 4096] {
                    assert_eq!(first(&text, size), Some(heads), "{size}: {text:?}");
                }
            }
        }
    }

    #[test]
    fn nothing_is_found_in_a_body() {
        for text in [
            format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{SMUGGLED}", SMUGGLED.len()),
            format!(
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n",
                SMUGGLED.len()
            ),
            format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{SMUGGLED}"),
        ] {
            for size in [1, 100, 4096] {
                assert_eq!(first(&text, size), None, "{size}: {text:?}");
            }
        }
    }

    #[test]
    fn a_head_without_end_is_not_kept() {
        let mut stream = WatchedStream::new((), TwoLengths::new());
        stream.watch(b"GET / HTTP/1.1\r\n");
        for _ in 0..HEADER_BYTES_MAX {
            stream.watch(b"x: y\r\n");
        }
        assert!(stream.framing.is_none());
    }

    #[test]
    fn a_web_socket_is_not_followed_beyond_its_first_byte() {
        let mut stream = WatchedStream::new((), TwoLengths::new());
        stream.watch(b"GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
        assert!(stream.framing.is_some());
        // A masked text frame (RFC 6455, section 5.2).
        stream.watch(&[0x81]);
        assert!(stream.framing.is_none());
    }

    #[test]
    fn each_request_from_the_first_with_two_lengths_on_is_refused() {
        let found = TwoLengths::new();
        found.first.store(1, Ordering::Release);
        assert_eq!([(); 3].map(|()| found.has_next()), [false, true, true]);
    }
}
