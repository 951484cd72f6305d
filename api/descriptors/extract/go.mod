module extract

go 1.24
