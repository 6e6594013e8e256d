//! An application's state for each device.

use crate::endpoint::ConnectionId;

/// A map from connections to values of the application. It needs no hashing, because ids have an index.
///
/// A value lives until [`Self::remove`], usually in [`Handler::on_disconnect`](crate::Handler::on_disconnect), or until a later
/// connection with the same index gets a value. The id of an ended connection finds no value.
///
/// ```
/// # use pulsegate::{ConnectionId, DeviceMap};
/// let pump = ConnectionId::from_u64(7).expect("a number below 2^52");
/// let mut counts = DeviceMap::<u32>::default();
/// *counts.entry(pump) += 1;
/// assert_eq!(counts.get(pump), Some(&1));
/// assert_eq!(counts.remove(pump), Some(1));
/// ```
#[derive(Debug, Clone)]
pub struct DeviceMap<T> {
    /// The value at each index, with the id that owns it.
    values: Vec<Option<(ConnectionId, T)>>,
}

impl<T> Default for DeviceMap<T> {
    fn default() -> Self {
        Self { values: Vec::new() }
    }
}

impl<T> DeviceMap<T> {
    /// Returns the value of `id`.
    pub fn get(&self, id: ConnectionId) -> Option<&T> {
        self.values.get(id.index())?.as_ref().filter(|(owner, _)| *owner == id).map(|(_, value)| value)
    }

    /// Returns the value of `id`, for changes.
    pub fn get_mut(&mut self, id: ConnectionId) -> Option<&mut T> {
        self.values.get_mut(id.index())?.as_mut().filter(|(owner, _)| *owner == id).map(|(_, value)| value)
    }

    /// Sets the value of `id`. Returns the previous value of `id`.
    pub fn insert(&mut self, id: ConnectionId, value: T) -> Option<T> {
        if id.index() >= self.values.len() {
            self.values.resize_with(id.index() + 1, || None);
        }
        let old = self.values[id.index()].replace((id, value));
        old.filter(|(owner, _)| *owner == id).map(|(_, value)| value)
    }

    /// Returns the value of `id`, after setting the default value if it has none.
    pub fn entry(&mut self, id: ConnectionId) -> &mut T
    where
        T: Default,
    {
        if self.get(id).is_none() {
            self.insert(id, T::default());
        }
        self.get_mut(id).expect("the line above inserts it")
    }

    /// Removes the value of `id` and returns it.
    pub fn remove(&mut self, id: ConnectionId) -> Option<T> {
        self.get(id)?;
        self.values[id.index()].take().map(|(_, value)| value)
    }

    /// Returns all ids with their values.
    pub fn iter(&self) -> impl Iterator<Item = (ConnectionId, &T)> {
        self.values.iter().flatten().map(|(id, value)| (*id, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_belongs_to_one_connection_and_not_to_the_next_at_its_index() {
        let (old, new) = (ConnectionId::new(3, 0), ConnectionId::new(3, 1));
        let mut map = DeviceMap::default();
        assert_eq!(map.insert(old, "old"), None);
        assert_eq!((map.get(old), map.get(new)), (Some(&"old"), None));
        assert_eq!(map.insert(new, "new"), None);
        assert_eq!(map.get(old), None);
        assert_eq!(map.remove(old), None);
        assert_eq!(map.get(new), Some(&"new"));
        assert_eq!(map.iter().collect::<Vec<_>>(), [(new, &"new")]);
        assert_eq!((map.remove(new), map.remove(new)), (Some("new"), None));
    }
}
