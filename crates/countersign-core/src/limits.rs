//! All limits of the server. Every queue, retry, body, list and wait has a limit, and is named
//! here.

use core::time::Duration;

/// The largest content that a user can be asked to sign, in bytes. Larger documents are signed by
/// digest.
pub const CONTENT_BYTES_MAX: usize = 64 * 1024;
/// The largest signature that a device may send: content, certificates and attributes, BER
/// included.
pub const SIGNATURE_BYTES_MAX: usize = CONTENT_BYTES_MAX + 32 * 1024;
/// The largest frame on the device channel: one signature as base64, and its envelope.
pub const FRAME_BYTES_MAX: usize = SIGNATURE_BYTES_MAX.div_ceil(3) * 4 + 4 * 1024;
/// The largest HTTP body of any call. JSON may need six bytes for one byte of content (`\u001f`),
/// but readable content does not. A content near the limit that does need them is refused with that
/// reason.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// The largest head of an HTTP request, all headers together.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The bytes of the document that is shown beside a digest, all its parts together. Sealed, it fits
/// into the space of a content.
pub const DOCUMENT_BYTES_MAX: usize = 60 * 1024;
/// The bytes that a dialect may store of a request: a content, as JSON, and the other fields.
pub const REQUEST_BYTES_MAX: usize = BODY_BYTES_MAX;
/// The selectors of one transaction.
pub const SELECTORS_MAX: usize = 16;
/// The rows of labels and values in one statement.
pub const ROWS_MAX: usize = 64;
/// The bytes of a name of a user, a client, a device or a label, and of a caller's reference.
pub const NAME_BYTES_MAX: usize = 255;
/// The bytes of the public text of a push. Push services limit the whole payload to 4 KiB.
pub const NOTICE_BYTES_MAX: usize = 1_024;
/// The bytes of a device's reason for a failure, and of a user's words for declining.
pub const REASON_BYTES_MAX: usize = 1_024;
/// The bytes of a callback's URL.
pub const CALLBACK_URL_BYTES_MAX: usize = 2_048;
/// The headers that a caller may add to its callback.
pub const CALLBACK_HEADERS_MAX: usize = 32;
/// The bytes of a callback header's value.
pub const CALLBACK_HEADER_BYTES_MAX: usize = 4_096;

/// The longest time to which either clock of a transaction may be set.
pub const CLOCK_MAX: Duration = Duration::from_hours(7 * 24);
/// The time limit of a transaction if its dialect has no clocks.
pub const CLOCK_DEFAULT: Duration = Duration::from_mins(5);

/// The roots that one tenant may trust, including its own authority.
pub const ROOTS_PER_TENANT_MAX: usize = 32;
/// The domains of one tenant.
pub const DOMAINS_PER_TENANT_MAX: usize = 32;
/// The devices of one user, without retired ones.
pub const DEVICES_PER_USER_MAX: usize = 32;
/// The devices that may take one transaction. Retired devices count, so it is more than the devices
/// of one user.
pub const TAKES_MAX: usize = 2 * DEVICES_PER_USER_MAX;
/// The identities of one device.
pub const IDENTITIES_PER_DEVICE_MAX: usize = 8;
/// The labels of one identity.
pub const LABELS_PER_IDENTITY_MAX: usize = 16;
/// The usable activation codes of one user. Each try checks all of them.
pub const ACTIVATIONS_PER_USER_MAX: usize = 16;
/// The activations of one user in one list, including used ones.
pub const ACTIVATIONS_LISTED_MAX: usize = 2 * ACTIVATIONS_PER_USER_MAX;
/// The longest life of an activation code.
pub const ACTIVATION_LIFE_MAX: Duration = Duration::from_hours(365 * 24);
/// The bytes that a dialect may store of a user.
pub const PROFILE_BYTES_MAX: usize = 16 * 1024;
/// The default, and the highest setting, of the open transactions of one user.
pub const OPEN_PER_USER_MAX: u16 = 100;
/// The length of the burst that a rate of starts allows. A client that was idle for this long may
/// start at once as many transactions as the rate gives in this time.
pub const START_BURST: Duration = Duration::from_secs(10);
/// The bytes that a stored transaction counts besides its content and its terms, for its columns
/// and indexes.
pub const STORED_ROW_BYTES: u64 = 1_024;
/// The rows of one list.
pub const LISTED_MAX: u16 = 1_000;

/// The attempts of a use case that loses commit races, before it gives up.
pub const COMMIT_TRIES_MAX: u32 = 16;
/// The commits that wait for the ledger's writer, before callers are asked to try again later.
pub const COMMITS_QUEUED_MAX: usize = 16 * 1024;
/// The commits that share one sync.
pub const COMMITS_PER_SYNC_MAX: usize = 512;
/// The transactions that one sweep examines, and whose ends are committed at once.
pub const SWEEP_MAX: u16 = 512;
/// The ends of transactions that a sweep begins before it lets other tasks run: about a millisecond
/// of reads.
pub const SWEEP_BEGUN_TOGETHER: usize = 64;
/// The ended transactions, or expired activations, that one commit removes. They take a few
/// milliseconds of the writer's time.
pub const PURGE_MAX: u16 = 50;
/// The rows of a tenant that is being deleted which one commit removes.
pub const DELETED_ROWS_MAX: u16 = 200;
/// The verified certificates that a node caches.
pub const SIGNERS_CACHED_MAX: usize = 65_536;
/// The opened private keys of tenants that a node caches.
pub const SIGNING_KEYS_CACHED_MAX: usize = 4_096;
/// The devices whose authentication keys a node caches.
pub const AUTH_KEYS_REMEMBERED_MAX: usize = 65_536;
/// The approximate size of a node's context cache, in bytes.
pub const CONTEXT_CACHE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The frames queued for one device before its channel is closed. The device resumes from the
/// ledger.
pub const CHANNEL_FRAMES_MAX: usize = 256;
/// The time from a device's connection to its valid `hello`.
pub const HELLO_WAIT_MAX: Duration = Duration::from_secs(10);
/// The longest wait of one long poll.
pub const POLL_WAIT_MAX: Duration = Duration::from_mins(1);
/// The time from the answer of a long poll to the device's next one; from then on, the next one is
/// overdue, and the device is offline.
pub const POLL_GAP_MAX: Duration = Duration::from_secs(10);
/// The greatest age of a device's token.
pub const PROOF_SKEW: Duration = Duration::from_mins(1);
/// The greatest time by which a device's token may be dated after the server's clock. After a
/// start, tokens dated up to this much after the start are refused, because they may have been used
/// before it.
pub const PROOF_AHEAD_MAX: Duration = Duration::from_millis(250);
/// The tokens of one device that a node stores against replay, in about a minute. A device that
/// makes more calls is refused until older tokens are removed.
pub const PROOFS_PER_DEVICE_MAX: usize = 2_048;
/// The tokens of all devices that a node stores against replay. Above it, each device may store
/// only [`PROOFS_PER_DEVICE_MIN`] of its own.
pub const PROOFS_REMEMBERED_MAX: usize = 524_288;
/// The tokens that each device may store if [`PROOFS_REMEMBERED_MAX`] is reached.
pub const PROOFS_PER_DEVICE_MIN: usize = 16;
/// The simultaneous connections and polls of one device. A further one replaces the oldest.
pub const LINES_PER_DEVICE_MAX: usize = 2;

/// The attempts of one delivery, even if its waits are short.
pub const DELIVERY_ATTEMPTS_MAX: u16 = 1_000;
/// The longest setting of the timeout of one attempt.
pub const DELIVERY_TIMEOUT_MAX: Duration = Duration::from_mins(1);
/// The time by which a lease exceeds its attempt, for recording the result.
pub const DELIVERY_LEASE_MARGIN: Duration = Duration::from_secs(30);
/// The longest wait between two attempts, unless the receiver asks for a longer one.
pub const DELIVERY_BACKOFF_MAX: Duration = Duration::from_hours(1);
/// The longest setting of the time for which a delivery is tried.
pub const DELIVERY_AGE_MAX: Duration = Duration::from_hours(7 * 24);
/// The failures in a row that open a circuit.
pub const DELIVERY_FAILURES_MAX: u16 = 10;
/// The longest pause of an endpoint's open circuit.
pub const DELIVERY_PAUSE_MAX: Duration = Duration::from_mins(1);
/// The different endpoints that must fail before their receiver's circuit opens.
pub const FAILING_ENDPOINTS_MIN: usize = 3;
/// The pause of a receiver's open circuit.
pub const HOST_PAUSE: Duration = Duration::from_secs(4);
/// The calls in progress that probe the failing endpoints of a receiver whose circuit is open.
pub const HOST_PROBES_MAX: u16 = 4;
/// The calls in progress to the other endpoints of a receiver whose circuit is open.
pub const CALLS_TO_OPEN_HOST_MAX: u16 = 16;
/// The endpoints, and the receivers, whose failures a node remembers. A failure of any other
/// delays only its own delivery.
pub const CIRCUITS_MAX: usize = 4_096;
/// The part of [`CIRCUITS_MAX`] for the endpoints of one tenant.
pub const CIRCUITS_PER_TENANT_MAX: usize = 1_024;
/// The time after which a call counts as slow, so that it uses no permit of quick calls.
pub const SLOW_CALL: Duration = Duration::from_millis(750);
/// The calls that may become slow while they are in progress, as a multiple of the capacity.
pub const SLOW_CALLS_FACTOR: u16 = 4;
/// The destinations of which a node remembers when they were served.
pub const DESTINATIONS_SERVED_MAX: usize = 4_096;
/// The bytes of a stored result of a delivery.
pub const DELIVERY_OUTCOME_BYTES_MAX: usize = 200;
/// The longest wait before the first retry of a push. Each further wait is twice as long.
pub const PUSH_BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// The longest wait between two attempts of a push, unless the service asks for a longer one.
pub const PUSH_BACKOFF_MAX: Duration = Duration::from_secs(30);
/// The highest capacity for pushes in the configuration.
pub const PUSH_PLACES_MAX: u16 = 8_192;
/// The due deliveries from which one claim selects if there are no more. If there are more, it
/// visits destinations.
pub const DUE_PER_CLAIM_MAX: u16 = 512;
/// The destinations that one claim visits. The next claim continues from there.
pub const DESTINATIONS_PER_CLAIM_MAX: usize = 1_024;
/// The deliveries that one call replays or gives up. For more, the caller calls again.
pub const DELIVERIES_CHANGED_MAX: u16 = 1_000;

// A frame must fit a whole signature, and a signature must fit its content.
const _: () = assert!(SIGNATURE_BYTES_MAX > CONTENT_BYTES_MAX);
const _: () = assert!(FRAME_BYTES_MAX > SIGNATURE_BYTES_MAX.div_ceil(3) * 4);
// A document is sent to a device as a content is, with names for its parts.
const _: () = assert!(DOCUMENT_BYTES_MAX + 2 * 1024 <= CONTENT_BYTES_MAX);
// The payload of a frame must fit into a body, because the same calls exist over HTTP.
const _: () = assert!(BODY_BYTES_MAX > FRAME_BYTES_MAX);
// A device that reconnects is offered all open transactions before its queue is full.
const _: () = assert!(CHANNEL_FRAMES_MAX > OPEN_PER_USER_MAX as usize);
// Each device keeps its share of the stored tokens.
const _: () = assert!(PROOFS_PER_DEVICE_MIN < PROOFS_PER_DEVICE_MAX);
// The age of a token that is dated ahead is still within the allowed age.
const _: () = assert!(PROOF_AHEAD_MAX.as_millis() < PROOF_SKEW.as_millis());
// The pause of a circuit ends long before deliveries are given up.
const _: () = assert!(DELIVERY_PAUSE_MAX.as_secs() < DELIVERY_BACKOFF_MAX.as_secs());
