//! Streams of different types as one type.

#![forbid(unsafe_code)]

use futures_core::Stream;
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::task::{Context, Poll};

macro_rules! one_of {
    ($(#[$doc:meta])+ $name:ident, $project:ident: $($variant:ident)+) => {
        pin_project! {
            $(#[$doc])+
            #[derive(Clone, Debug)]
            #[project = $project]
            #[must_use = "streams do nothing unless polled"]
            pub enum $name<$($variant),+> {
                $(
                    #[allow(missing_docs)]
                    $variant {
                        #[pin]
                        stream: $variant,
                    },
                )+
            }
        }

        impl<T, $($variant: Stream<Item = T>),+> Stream for $name<$($variant),+> {
            type Item = T;

            #[inline]
            fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
                match self.project() {
                    $($project::$variant { stream } => stream.poll_next(cx),)+
                }
            }

            fn size_hint(&self) -> (usize, Option<usize>) {
                match self {
                    $(Self::$variant { stream } => stream.size_hint(),)+
                }
            }
        }
    };
}

one_of! {
    /// One of two streams with items of one type; see [`Sources`](super::Sources).
    OneOf2, Project2: A B
}
one_of! {
    /// One of three streams with items of one type; see [`Sources`](super::Sources).
    OneOf3, Project3: A B C
}
one_of! {
    /// One of four streams with items of one type; see [`Sources`](super::Sources).
    OneOf4, Project4: A B C D
}
one_of! {
    /// One of five streams with items of one type; see [`Sources`](super::Sources).
    OneOf5, Project5: A B C D E
}
one_of! {
    /// One of six streams with items of one type; see [`Sources`](super::Sources).
    OneOf6, Project6: A B C D E F
}
