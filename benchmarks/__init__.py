"""What a step of predictive coding costs and how exact it is, beside backpropagation and other libraries."""
