//! Attributes of what the demo's clips show: colours, outlines, motions, each with its word.

/// Declares an attribute: its values, with a word for each.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$value_doc])* $value,)* }

        impl $name {
            /// Every one of them.
            pub const ALL: &[Self] = &[$(Self::$value),*];

            /// The word for it.
            pub fn word(self) -> &'static str {
                match self { $(Self::$value => $word,)* }
            }
        }
    };
}

words! {
    /// A colour that a shape can have.
    Colour {
        /// `[220, 40, 40]`.
        Red = "red",
        /// `[40, 190, 60]`.
        Green = "green",
        /// `[50, 80, 230]`.
        Blue = "blue",
        /// `[225, 210, 50]`.
        Yellow = "yellow",
    }
}

words! {
    /// How the size of a shape changes over a clip.
    Growth {
        /// From small to large.
        Grows = "grows",
        /// From large to small.
        Shrinks = "shrinks",
        /// It keeps a middle size.
        Stays = "stays",
    }
}

words! {
    /// Where a shape goes, seen from the viewer.
    Direction {
        /// From the right edge to the left.
        Left = "left",
        /// From the left edge to the right.
        Right = "right",
        /// From the bottom to the top.
        Up = "up",
        /// From the top to the bottom.
        Down = "down",
    }
}

words! {
    /// The colour of a small light; no shape has it.
    Light {
        /// `[250, 250, 250]`.
        White = "white",
        /// `[230, 60, 200]`.
        Pink = "pink",
        /// `[240, 130, 20]`.
        Orange = "orange",
        /// `[40, 210, 220]`.
        Cyan = "cyan",
    }
}

words! {
    /// The place of an event among those that follow one another.
    Ordinal {
        /// The one at the start.
        First = "first",
        /// The one at the end.
        Last = "last",
    }
}

words! {
    /// The outline of a shape.
    Outline {
        /// A filled square.
        Square = "square",
        /// A filled circle.
        Disc = "disc",
        /// A square with a dark middle.
        Frame = "frame",
    }
}

words! {
    /// What a shape is covered with, finer than a patch of the tower.
    Pattern {
        /// Its colour everywhere.
        Plain = "plain",
        /// Upright stripes of its colour.
        Striped = "striped",
        /// Squares of its colour.
        Checked = "checked",
    }
}

/// Pixels per side of a pattern's stripes and squares.
const PATTERN_SIDE: usize = 4;

impl Colour {
    /// Its RGB value as drawn.
    pub fn rgb(self) -> [u8; 3] {
        match self {
            Self::Red => [220, 40, 40],
            Self::Green => [40, 190, 60],
            Self::Blue => [50, 80, 230],
            Self::Yellow => [225, 210, 50],
        }
    }
}

impl Light {
    /// Its RGB value as drawn.
    pub fn rgb(self) -> [u8; 3] {
        match self {
            Self::White => [250, 250, 250],
            Self::Pink => [230, 60, 200],
            Self::Orange => [240, 130, 20],
            Self::Cyan => [40, 210, 220],
        }
    }
}

impl Pattern {
    /// Whether the shape has its colour at this pixel.
    pub fn covers(self, x: usize, y: usize) -> bool {
        let [column, row] = [x, y].map(|pixel| pixel / PATTERN_SIDE);
        match self {
            Self::Plain => true,
            Self::Striped => column.is_multiple_of(2),
            Self::Checked => (column + row).is_multiple_of(2),
        }
    }
}

impl Outline {
    /// Whether it covers the point, given from -1 to 1 in both directions.
    pub fn covers(self, x: f64, y: f64) -> bool {
        let square = x.abs().max(y.abs());
        match self {
            Self::Square => square <= 1.0,
            Self::Disc => x.hypot(y) <= 1.0,
            Self::Frame => (0.5..=1.0).contains(&square),
        }
    }
}
