//! Products that are wider than the machine's widest integer.

/// `a * b / div`, rounded up, without overflow on the way and saturating at the end. `div` of 0 gives 0.
pub(super) fn mul_div_up(a: u128, b: u128, div: u128) -> u128 {
    if div == 0 {
        return 0;
    }
    if let Some(product) = a.checked_mul(b) {
        return product.div_ceil(div);
    }
    let (high, low) = product(a, b);
    if high >= div {
        return u128::MAX;
    }
    // Long division, bit by bit: the remainder is less than `div`, and one bit wider while it is doubled.
    let (mut rest, mut quotient) = (high, 0u128);
    for bit in (0..u128::BITS).rev() {
        let carry = rest >> 127 != 0;
        rest = rest << 1 | low >> bit & 1;
        quotient <<= 1;
        if carry || rest >= div {
            rest = rest.wrapping_sub(div);
            quotient |= 1;
        }
    }
    quotient.saturating_add(u128::from(rest != 0))
}

/// The high and the low half of a product.
fn product(a: u128, b: u128) -> (u128, u128) {
    let low = |x: u128| x & u128::from(u64::MAX);
    let (a1, a0, b1, b0) = (a >> 64, low(a), b >> 64, low(b));
    let bottom = a0 * b0;
    let middle = a1 * b0 + (bottom >> 64);
    let other = a0 * b1 + low(middle);
    (a1 * b1 + (middle >> 64) + (other >> 64), other << 64 | low(bottom))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_products_are_divided_exactly() {
        let max = u128::MAX;
        let cases = [
            (7, 5, 2, 18),
            (7, 5, 0, 0),
            (max, max, max, max),
            (max, max - 1, max, max - 1),
            (max, 2, 1, max),
            (max, max, 1, max),
            (1 << 127, 4, 1 << 2, 1 << 127),
            ((1 << 127) + 1, 4, 1 << 3, (1 << 126) + 1),
            (max, 3, 9, max.div_ceil(3)),
            (max - 1, max - 1, max, max - 2 + 1),
        ];
        for (a, b, div, quotient) in cases {
            assert_eq!(mul_div_up(a, b, div), quotient, "{a} * {b} / {div}");
            assert_eq!(mul_div_up(b, a, div), quotient, "{b} * {a} / {div}");
        }
    }

    #[test]
    fn a_product_divided_by_a_factor_is_the_other() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let a = random.u128(1..) >> random.u32(0..127) | 1;
            let b = random.u128(1..) >> random.u32(0..127) | 1;
            assert_eq!(mul_div_up(a, b, a), b);
            assert_eq!(mul_div_up(a, b, b), a);
            // A little more than a whole number is the next.
            if a > 1 && b < u128::MAX {
                let (high, low) = product(a, b);
                if high == 0 && low < u128::MAX {
                    assert_eq!(mul_div_up(low + 1, 1, a), b + 1);
                }
            }
        }
    }
}
