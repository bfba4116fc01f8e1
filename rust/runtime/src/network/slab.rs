//! Things with small numbers, for the tokens of epoll.

/// A number is not given again before [`Slab::settle`]: events of what has just gone may still be under way.
#[derive(Debug)]
pub struct Slab<T> {
    items: Vec<Option<T>>,
    free: Vec<usize>,
    gone: Vec<usize>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            free: Vec::new(),
            gone: Vec::new(),
        }
    }
}

impl<T> Slab<T> {
    /// The number that [`Slab::insert`] will give next.
    pub fn next(&self) -> usize {
        self.free.last().copied().unwrap_or(self.items.len())
    }

    pub fn insert(&mut self, item: T) -> usize {
        let at = self.next();
        if self.free.pop().is_some() {
            self.items[at] = Some(item);
        } else {
            self.items.push(Some(item));
        }
        at
    }

    pub fn get(&self, at: usize) -> Option<&T> {
        self.items.get(at)?.as_ref()
    }

    pub fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.items.get_mut(at)?.as_mut()
    }

    pub fn remove(&mut self, at: usize) -> Option<T> {
        let item = self.items.get_mut(at)?.take()?;
        self.gone.push(at);
        Some(item)
    }

    /// No event of anything removed is under way any more.
    pub fn settle(&mut self) {
        self.free.append(&mut self.gone);
        if self.free.len() == self.items.len() && self.items.capacity() > 64 {
            *self = Self::default();
        }
    }

    pub fn len(&self) -> usize {
        self.items.len() - self.free.len() - self.gone.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        let items = self.items.iter().enumerate();
        items.filter_map(|(at, item)| Some((at, item.as_ref()?)))
    }
}
