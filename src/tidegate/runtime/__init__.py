"""Many runs over time: one door in, one place where runs are carried out, one sweep that ends what is due."""
