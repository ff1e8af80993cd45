// SPDX-License-Identifier: GPL-2.0

//! Open enumerations: named numbers which leave every other number representable.

/// Declares a newtype over an integer with named values.
///
/// Each value reads `NAME = number, "label";`. Besides the constants, the type gets `NAMED` (every
/// named value once), `name()` (the label), and `Debug` and `Display` (the label, or the number in
/// hexadecimal when it has none).
macro_rules! open_enum {
    (
        $(#[$outer:meta])*
        pub struct $type:ident($repr:ty) {
            $( $(#[$inner:meta])* $name:ident = $value:expr, $label:literal; )*
        }
    ) => {
        $(#[$outer])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $type(pub $repr);

        impl $type {
            $( $(#[$inner])* pub const $name: Self = Self($value); )*

            /// Every value that has a name, each once.
            pub const NAMED: &'static [Self] = &[$( Self::$name ),*];

            /// Label of a named value.
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $( Self::$name => Some($label), )*
                    _ => None,
                }
            }
        }

        impl core::fmt::Debug for $type {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "{:#x}", self.0),
                }
            }
        }

        impl core::fmt::Display for $type {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Debug::fmt(self, f)
            }
        }
    };
}

pub(super) use open_enum;
