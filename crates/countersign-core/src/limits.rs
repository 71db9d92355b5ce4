//! Every bound in the server, in one place. Nothing in the code base is unbounded: a queue, a
//! retry, a body, a list or a wait that is not named here does not exist.

use core::time::Duration;

/// Largest content a person can be asked to sign. Bigger documents are signed by digest.
pub const CONTENT_BYTES_MAX: usize = 64 * 1024;
/// Largest signature a device may send: a content, certificates and attributes, BER included.
pub const SIGNATURE_BYTES_MAX: usize = CONTENT_BYTES_MAX + 32 * 1024;
/// Largest frame on the device channel: one signature as base64, and its envelope.
pub const FRAME_BYTES_MAX: usize = SIGNATURE_BYTES_MAX.div_ceil(3) * 4 + 4 * 1024;
/// Largest HTTP body of any call. JSON may need six bytes for one of the content's (`\u001f`), but
/// what people read does not; a caller near the bound is told so.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// Largest head of an HTTP request, all headers together.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// What is shown beside a digest, in bytes, all its parts together; sealed, it fits where a content
/// does.
pub const DOCUMENT_BYTES_MAX: usize = 60 * 1024;
/// What a dialect may keep of a request, in bytes: a content, as JSON, and what goes with it.
pub const REQUEST_BYTES_MAX: usize = BODY_BYTES_MAX;
/// Selectors of one transaction.
pub const SELECTORS_MAX: usize = 16;
/// Label and value rows of one statement.
pub const ROWS_MAX: usize = 64;
/// A name of a user, a client, a device, a label, or a caller's own transaction id, in bytes.
pub const NAME_BYTES_MAX: usize = 255;
/// The public text of a push, in bytes; push services cap the whole payload at 4 KiB.
pub const NOTICE_BYTES_MAX: usize = 1_024;
/// Why a device failed a transaction, or what was said when it was declined, in bytes.
pub const REASON_BYTES_MAX: usize = 1_024;
/// A callback's address, in bytes.
pub const CALLBACK_URL_BYTES_MAX: usize = 2_048;
/// Headers that a caller may add to its callback.
pub const CALLBACK_HEADERS_MAX: usize = 32;
/// A callback header's value, in bytes.
pub const CALLBACK_HEADER_BYTES_MAX: usize = 4_096;

/// Longest either of a transaction's clocks may be set to.
pub const CLOCK_MAX: Duration = Duration::from_hours(7 * 24);
/// How long a transaction lives on dialects that set no clocks of their own.
pub const CLOCK_DEFAULT: Duration = Duration::from_mins(5);

/// Roots that one tenant may trust, its own authority's among them.
pub const ROOTS_PER_TENANT_MAX: usize = 32;
/// Devices that one user may hold, retired ones aside.
pub const DEVICES_PER_USER_MAX: usize = 32;
/// Devices that may take one transaction. Retired devices count, so it is more than a user may
/// hold.
pub const TAKES_MAX: usize = 2 * DEVICES_PER_USER_MAX;
/// Identities of one device.
pub const IDENTITIES_PER_DEVICE_MAX: usize = 8;
/// Labels of one identity.
pub const LABELS_PER_IDENTITY_MAX: usize = 16;
/// Activation codes of one user that still could be used; each try checks them all.
pub const ACTIVATIONS_PER_USER_MAX: usize = 16;
/// Activations of one user that one listing gives, used ones included.
pub const ACTIVATIONS_LISTED_MAX: usize = 2 * ACTIVATIONS_PER_USER_MAX;
/// The longest that an activation code may be good.
pub const ACTIVATION_LIFE_MAX: Duration = Duration::from_hours(365 * 24);
/// What a dialect may keep of a user, in bytes.
pub const PROFILE_BYTES_MAX: usize = 16 * 1024;
/// Open transactions of one user, where the configuration says nothing else; its upper bound too.
pub const OPEN_PER_USER_MAX: u16 = 100;
/// The length of the burst that a rate of starts allows: a client that was idle for this long may
/// start as many transactions at once as the rate gives in this time.
pub const START_BURST: Duration = Duration::from_secs(10);
/// Bytes that a stored transaction counts besides its content and its terms: its columns and
/// indexes.
pub const STORED_ROW_BYTES: u64 = 1_024;
/// Rows that one listing gives.
pub const LISTED_MAX: u16 = 1_000;

/// Times a use case may lose a commit race before it gives up.
pub const COMMIT_TRIES_MAX: u32 = 16;
/// Commits waiting for the ledger's writer before callers are told to come back.
pub const COMMITS_QUEUED_MAX: usize = 16 * 1024;
/// Commits that share one sync.
pub const COMMITS_PER_SYNC_MAX: usize = 512;
/// Transactions whose clocks one sweep looks at.
pub const SWEEP_MAX: u16 = 512;
/// Ended transactions, or expired activations, removed in one commit: a few milliseconds of the
/// writer's time.
pub const PURGE_MAX: u16 = 50;
/// Verified certificates that a node remembers.
pub const SIGNERS_CACHED_MAX: usize = 65_536;
/// Devices whose authentication keys a node remembers.
pub const AUTH_KEYS_REMEMBERED_MAX: usize = 65_536;
/// What a node remembers of open transactions and who may act on them, in bytes, about.
pub const CONTEXT_CACHE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Frames queued for one device before its channel is closed; it resumes from the ledger.
pub const CHANNEL_FRAMES_MAX: usize = 256;
/// How long a device may take from the connection to a valid `hello`.
pub const HELLO_WAIT_MAX: Duration = Duration::from_secs(10);
/// Longest wait of one long poll.
pub const POLL_WAIT_MAX: Duration = Duration::from_mins(1);
/// How old a device's token may be.
pub const PROOF_SKEW: Duration = Duration::from_mins(1);
/// How far ahead of the server's clock a device's token may be dated. After a start, tokens dated
/// up to this far after it are refused, since they may have been used before it.
pub const PROOF_AHEAD_MAX: Duration = Duration::from_millis(250);
/// Tokens of one device that a node remembers against replay, in about a minute. A device that
/// makes more calls than this is refused until older ones are forgotten.
pub const PROOFS_PER_DEVICE_MAX: usize = 2_048;
/// Tokens of all devices that a node remembers against replay. Above it, a device has
/// [`PROOFS_PER_DEVICE_MIN`] of its own and no more.
pub const PROOFS_REMEMBERED_MAX: usize = 524_288;
/// See [`PROOFS_REMEMBERED_MAX`].
pub const PROOFS_PER_DEVICE_MIN: usize = 16;
/// Connections and polls of one device at once; a further one replaces the oldest.
pub const LINES_PER_DEVICE_MAX: usize = 2;

/// Times one delivery is attempted, however short its waits were.
pub const DELIVERY_ATTEMPTS_MAX: u16 = 1_000;
/// Longest that one attempt may be allowed to take.
pub const DELIVERY_TIMEOUT_MAX: Duration = Duration::from_mins(1);
/// How much longer than its attempt a lease lasts: the time to write down what became of it.
pub const DELIVERY_LEASE_MARGIN: Duration = Duration::from_secs(30);
/// Longest wait between two attempts, unless the receiver asks for a longer one.
pub const DELIVERY_BACKOFF_MAX: Duration = Duration::from_hours(1);
/// Longest that a delivery may be tried for.
pub const DELIVERY_AGE_MAX: Duration = Duration::from_hours(7 * 24);
/// Failures in a row after which a receiver is not called for a while.
pub const DELIVERY_FAILURES_MAX: u16 = 10;
/// The longest of these whiles.
pub const DELIVERY_PAUSE_MAX: Duration = Duration::from_mins(1);
/// What happened to a delivery, as it is kept, in bytes.
pub const DELIVERY_OUTCOME_BYTES_MAX: usize = 200;
/// The first retry of a push waits for this at the most; each further one twice as long.
pub const PUSH_BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// Longest wait between two attempts of a push, unless the service asks for a longer one.
pub const PUSH_BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Places for pushes, whatever the configuration says.
pub const PUSH_PLACES_MAX: u16 = 8_192;
/// Receivers that one claim looks at; the next claim goes on from there.
pub const DESTINATIONS_PER_CLAIM_MAX: usize = 1_024;
/// Deliveries that one call replays or gives up; whoever wants more calls again.
pub const DELIVERIES_CHANGED_MAX: u16 = 1_000;

// A frame must carry a whole signature, and a signature the content that it is over.
const _: () = assert!(SIGNATURE_BYTES_MAX > CONTENT_BYTES_MAX);
const _: () = assert!(FRAME_BYTES_MAX > SIGNATURE_BYTES_MAX.div_ceil(3) * 4);
// A document goes to a device as a content does, and has names for its parts.
const _: () = assert!(DOCUMENT_BYTES_MAX + 2 * 1024 <= CONTENT_BYTES_MAX);
// What comes in a frame must fit in a body, since the same calls exist over HTTP.
const _: () = assert!(BODY_BYTES_MAX > FRAME_BYTES_MAX);
// A device that comes back is told of all that is open before its queue is full.
const _: () = assert!(CHANNEL_FRAMES_MAX > OPEN_PER_USER_MAX as usize);
// A device keeps its share of what is remembered.
const _: () = assert!(PROOFS_PER_DEVICE_MIN < PROOFS_PER_DEVICE_MAX);
// A token that is dated ahead is still within the age that tokens may have.
const _: () = assert!(PROOF_AHEAD_MAX.as_millis() < PROOF_SKEW.as_millis());
// A receiver that is held back is tried again long before its deliveries are given up.
const _: () = assert!(DELIVERY_PAUSE_MAX.as_secs() < DELIVERY_BACKOFF_MAX.as_secs());
