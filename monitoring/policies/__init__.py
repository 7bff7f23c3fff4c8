"""When a retrain starts: policies that ask for one, constraints that hold it back, and the decision between them."""
