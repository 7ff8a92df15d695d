//! The stack.

use cofferdam::resilience::*;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

struct Plain;
impl Component for Plain {
    fn describe(&self, layers: &mut Vec<Layer>) {
        layers.push(Layer::custom("plain"));
    }
}
impl<'a, A: Attempt> Policy<A> for &'a Plain {
    type Attempt = Around<'a, A>;

    fn around(self, inner: A) -> Around<'a, A> {
        Around { policy: self, inner }
    }
}
pin_project_lite::pin_project! { struct Around<'a, A> { policy: &'a Plain, #[pin] inner: A } }
impl<A: Attempt> Attempt for Around<'_, A> {
    type Ok = A::Ok;
    type Err = A::Err;

    fn poll_attempt(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<A::Ok, Error<A::Err>>> {
        self.project().inner.poll_attempt(cx)
    }

    fn cancel(self: Pin<&mut Self>) {
        self.project().inner.cancel();
    }
}

fn assert_send<T: Send>(t: T) -> T {
    t
}

#[test]
fn a_stacks_future_is_send_when_the_operations_is_also_where_it_borrows() {
    let stack = Arc::new(Stack::new().layer(Plain).layer(Arc::new(Plain)).layer(Some(Plain)).layer(Plain));
    let text = String::from("abc");
    let shared = Arc::clone(&stack);
    let task = assert_send(async move {
        let borrowed = &text;
        let mut calls = 0;
        let outcome = shared
            .call(|| {
                calls += 1;
                async move { if borrowed.len() == 3 { Ok::<&str, &str>(borrowed) } else { Err("not three") } }
            })
            .await;
        outcome.map(|text| text.len() + calls)
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let outcome = runtime.block_on(async { tokio::spawn(task).await.unwrap() });
    assert_eq!(outcome, Ok(4));

    // An operation that is not Send has its place, too.
    let five = std::rc::Rc::new(5);
    let outcome = futures_executor::block_on(stack.call(|| {
        let five = &five;
        async move {
            std::future::ready(()).await;
            Ok::<i32, ()>(**five)
        }
    }));
    assert_eq!(outcome, Ok(5));
}
