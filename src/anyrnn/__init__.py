"""Write a recurrent cell as its equations; get an exact, trainable layer."""
