"""The parts of the prediction log: cursors, order, columns, and how long anything is kept."""
