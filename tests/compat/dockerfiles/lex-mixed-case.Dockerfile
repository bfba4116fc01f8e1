FrOm scratch
LaBeL a=b
