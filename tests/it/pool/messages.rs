//! Tasks that arrive as bytes. WP20.

use super::*;
use cofferdam::pool::{Codec, FrameCodec, Handlers, Message};
use futures_util::FutureExt;
use proptest::prelude::*;
use std::error::Error;

fn message() -> impl Strategy<Value = Message> {
    let headers = prop::collection::vec((".{0,8}", ".{0,8}"), 0..4);
    (".{0,20}", prop::collection::vec(any::<u8>(), 0..40), headers).prop_map(|(name, payload, headers)| {
        headers
            .into_iter()
            .fold(Message::new(name, payload), |message, (key, value)| message.with_header(key, value))
    })
}

proptest! {
    #[test]
    fn the_frame_codec_gives_back_what_it_was_given(message in message()) {
        let bytes = FrameCodec.encode(&message).unwrap();
        prop_assert_eq!(FrameCodec.decode(&bytes).unwrap(), message);
    }

    #[test]
    fn the_frame_codec_refuses_other_bytes_and_takes_no_more_memory_than_they_do(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(message) = FrameCodec.decode(&bytes) {
            prop_assert_eq!(FrameCodec.encode(&message).unwrap(), bytes);
        }
    }
}

#[test]
fn bytes_that_are_no_message_are_refused_with_what_is_wrong() {
    let refuse = |bytes: &[u8]| FrameCodec.decode(bytes).unwrap_err();
    assert!(refuse(b"").is_truncated());
    assert!(refuse(&[1, 9, 0, 0, 0, b'x']).is_truncated());
    assert!(refuse(&[1, 0xff, 0xff, 0xff, 0xff]).is_truncated());
    assert!(refuse(&[2]).is_version());
    assert_eq!(refuse(&[7]).to_string(), "message frame: version 7, where 1 is the only one known");
    assert_eq!(refuse(&[1, 1, 0, 0, 0, 0xff]).to_string(), "message frame: a name or header is not UTF-8");
    let cut = FrameCodec.encode(&Message::new("name", "payload").with_header("k", "v")).unwrap();
    // The payload is what is left: a cut there cannot be seen.
    for length in 0..cut.len() - "payload".len() {
        assert!(refuse(&cut[..length]).is_truncated(), "{length}");
    }
}

#[test]
fn a_message_goes_to_the_handler_of_its_name_as_a_task() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    let handlers = Handlers::new(FrameCodec)
        .on("mail", move |message: Message| {
            record.lock().unwrap().push(message);
            ready(Ok(()))
        })
        .unwrap()
        .on("fail", |_| ready(Err("no such mailbox")))
        .unwrap();
    let (pool, mut workers) = driven(WorkerPool::builder().workers(1).queue(8));
    let mail = Message::new("mail", "hello").with_header("id", "7");
    let task = handlers.decode(&handlers.encode(&mail).unwrap()).unwrap();
    assert_eq!(task.message(), &mail);
    let again = task.again();
    let fail = handlers.handle(Message::new("fail", [])).unwrap();
    let (mailed, failed) = (pool.try_submit(task).unwrap(), pool.try_submit(fail).unwrap());
    assert!(seen.lock().unwrap().is_empty(), "not before a worker takes it up");
    settle(&mut workers);
    assert_eq!(Polled::new(mailed).poll().unwrap().unwrap(), Ok(()));
    assert_eq!(Polled::new(failed).poll().unwrap().unwrap(), Err("no such mailbox"));
    assert_eq!(again.now_or_never(), Some(Ok(())));
    assert_eq!(*seen.lock().unwrap(), [mail.clone(), mail.clone()]);
    assert_eq!((mail.header("id"), mail.header("no")), (Some("7"), None));
    assert_eq!(mail.headers().collect::<Vec<_>>(), [("id", "7")]);
    assert_eq!(mail.into_payload(), b"hello");
}

#[test]
fn a_message_that_nobody_handles_comes_back_and_a_name_is_given_once() {
    let handlers: Handlers<()> = Handlers::new(FrameCodec).on("known", |_| ready(Ok(()))).unwrap();
    let error = handlers.handle(Message::new("lost", [1, 2])).unwrap_err();
    assert!(error.is_unknown());
    assert_eq!(error.to_string(), "message handlers: nobody handles messages named \"lost\"");
    assert_eq!(error.into_message().unwrap().payload(), [1, 2]);
    let error = handlers.decode(&[9]).unwrap_err();
    assert!(!error.is_unknown());
    assert!(error.source().unwrap().to_string().contains("version 9"));
    assert!(error.into_message().is_none());
    let other = handlers.clone().on("other", |_| ready(Ok(()))).unwrap();
    assert_eq!((handlers.names().count(), other.names().count()), (1, 2));
    let refused = handlers.on("known", |_| ready(Ok(()))).unwrap_err();
    assert_eq!((refused.knob(), refused.value()), ("on", "known"));
}
