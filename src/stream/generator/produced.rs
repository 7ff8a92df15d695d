//! What a producer can end with.

#![forbid(unsafe_code)]

/// What a producer of `T`s ends with, and so what the items of its stream are: `()` makes them `T`, as does `!`, of a
/// producer that never returns; and `Result<(), E>` makes them `Result<T, E>`. Not to be implemented elsewhere.
pub trait Produced<T>: sealed::Sealed {
    /// An item of the stream.
    type Item;

    /// The item for a value that was emitted.
    fn value(value: T) -> Self::Item;

    /// The last item, made of the end.
    fn end(self) -> Option<Self::Item>;
}

impl<T> Produced<T> for () {
    type Item = T;

    #[inline]
    fn value(value: T) -> T {
        value
    }

    fn end(self) -> Option<T> {
        None
    }
}

impl<T, E> Produced<T> for Result<(), E> {
    type Item = Result<T, E>;

    #[inline]
    fn value(value: T) -> Self::Item {
        Ok(value)
    }

    fn end(self) -> Option<Self::Item> {
        self.err().map(Err)
    }
}

impl<T> Produced<T> for Never {
    type Item = T;

    #[inline]
    fn value(value: T) -> T {
        value
    }

    fn end(self) -> Option<T> {
        self
    }
}

/// The type `!`, which can be written only as what a function returns.
type Never = <fn() -> ! as sealed::Returns>::Output;

mod sealed {
    pub trait Sealed {}
    impl Sealed for () {}
    impl Sealed for super::Never {}

    pub trait Returns {
        type Output;
    }
    impl<R> Returns for fn() -> R {
        type Output = R;
    }
    impl<E> Sealed for Result<(), E> {}
}
