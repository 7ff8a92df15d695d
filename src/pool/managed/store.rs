//! Where waiting tasks lie: cells that do not move, and are used again.

/// The number of a cell.
pub(super) type At = u32;

const NONE: At = At::MAX;

pub(super) struct Store<T> {
    cells: Vec<Cell<T>>,
    /// The first of the chain of vacant cells.
    vacant: At,
}

enum Cell<T> {
    Vacant(At),
    Full(T),
}

impl<T> Store<T> {
    /// With memory for `capacity` cells, or `None` if there is not so much. It grows beyond.
    pub(super) fn new(capacity: usize) -> Option<Self> {
        let mut cells = Vec::new();
        cells.try_reserve_exact(capacity).ok()?;
        Some(Self { cells, vacant: NONE })
    }

    pub(super) fn insert(&mut self, value: T) -> At {
        let at = self.vacant;
        match self.cells.get_mut(at as usize) {
            Some(cell) => {
                if let Cell::Vacant(next) = std::mem::replace(cell, Cell::Full(value)) {
                    self.vacant = next;
                }
                at
            }
            None => {
                self.cells.push(Cell::Full(value));
                // Fewer than 2^32: each is more than a hundred bytes.
                At::try_from(self.cells.len() - 1).unwrap_or(NONE)
            }
        }
    }

    pub(super) fn get_mut(&mut self, at: At) -> Option<&mut T> {
        match self.cells.get_mut(at as usize) {
            Some(Cell::Full(value)) => Some(value),
            _ => None,
        }
    }

    pub(super) fn remove(&mut self, at: At) -> Option<T> {
        let cell = self.cells.get_mut(at as usize)?;
        if let Cell::Vacant(_) = cell {
            return None;
        }
        match std::mem::replace(cell, Cell::Vacant(self.vacant)) {
            Cell::Full(value) => {
                self.vacant = at;
                Some(value)
            }
            Cell::Vacant(_) => None,
        }
    }
}
