//! What middleware and service keep of a connection, by type.

use std::any::{Any, TypeId};
use std::fmt;

use hashbrown::HashMap;

/// Values of any types, one of each.
///
/// Beside its typed state, a connection carries these ([`Conn::attributes`](crate::Conn::attributes)), for what
/// parts of a service share that do not know one another: who was authenticated, with what roles, in
/// which language. They are given at the upgrade ([`Accept::attribute`](crate::Accept::attribute)) or at any time after it.
///
/// ```
/// use throng::Attributes;
///
/// #[derive(Debug, PartialEq)]
/// struct Language(&'static str);
///
/// let mut attributes = Attributes::default();
/// attributes.insert(Language("de"));
/// assert_eq!(attributes.insert(Language("fr")), Some(Language("de")));
/// assert_eq!(attributes.get::<Language>(), Some(&Language("fr")));
/// ```
#[derive(Default)]
pub struct Attributes {
    values: HashMap<TypeId, Box<dyn Any + Send>>,
}

impl Attributes {
    /// Keeps a value; returns the one of the same type that was there.
    pub fn insert<T: Send + 'static>(&mut self, value: T) -> Option<T> {
        let before = self.values.insert(TypeId::of::<T>(), Box::new(value))?;
        before.downcast().ok().map(|value| *value)
    }

    /// The value of that type.
    pub fn get<T: 'static>(&self) -> Option<&T> {
        self.values.get(&TypeId::of::<T>())?.downcast_ref()
    }

    /// The value of that type, to be changed.
    pub fn get_mut<T: 'static>(&mut self) -> Option<&mut T> {
        self.values.get_mut(&TypeId::of::<T>())?.downcast_mut()
    }

    /// The value of that type, to be changed; its default is kept first where there is none.
    pub fn get_or_default<T: Default + Send + 'static>(&mut self) -> &mut T {
        let entry = self.values.entry(TypeId::of::<T>());
        let value = entry.or_insert_with(|| Box::<T>::default());
        match value.downcast_mut() {
            Some(value) => value,
            None => unreachable!("values are kept by their types"),
        }
    }

    /// Takes the value of that type out.
    pub fn remove<T: 'static>(&mut self) -> Option<T> {
        let value = self.values.remove(&TypeId::of::<T>())?;
        value.downcast().ok().map(|value| *value)
    }

    /// Takes over the others' values of types of which there are none here.
    pub(crate) fn add_missing(&mut self, others: Attributes) {
        for (kind, value) in others.values {
            self.values.entry(kind).or_insert(value);
        }
    }

    /// Bytes that they take, without what they point to.
    pub(crate) fn memory(&self) -> usize {
        let values = self.values.values().map(|value| size_of_val(&**value));
        values.sum::<usize>() + self.values.capacity() * size_of::<(TypeId, Box<dyn Any + Send>)>()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attributes")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_of_each_type() {
        let mut attributes = Attributes::default();
        assert_eq!(attributes.insert(1_u32), None);
        assert_eq!(attributes.insert("text"), None);
        assert_eq!(attributes.insert(2_u32), Some(1));
        *attributes.get_mut::<u32>().unwrap() += 1;
        assert_eq!((attributes.get::<u32>(), attributes.len()), (Some(&3), 2));
        assert_eq!(attributes.get::<u64>(), None);
        assert!(attributes.memory() >= size_of::<&str>() + size_of::<u32>());
        assert_eq!(attributes.remove::<u32>(), Some(3));
        assert_eq!(attributes.remove::<u32>(), None);
        assert_eq!(attributes.remove::<&str>(), Some("text"));
        assert!(attributes.is_empty());
    }
}
