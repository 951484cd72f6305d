package main

import "encoding/binary"

// Fields of google.protobuf.FileDescriptorProto that matter here.
const (
	fileName      = 1
	filePackage   = 2
	fileMessage   = 4
	fileEnum      = 5
	fileService   = 6
	typeName      = 1
	lengthDelimit = 2
)

// outline reads a file descriptor's name and the full names of its top-level types.
func outline(raw []byte) (name string, symbols []string) {
	var pkg string
	var types []string
	fields(raw, func(number int, value []byte) {
		switch number {
		case fileName:
			name = string(value)
		case filePackage:
			pkg = string(value)
		case fileMessage, fileEnum, fileService:
			fields(value, func(number int, value []byte) {
				if number == typeName {
					types = append(types, string(value))
				}
			})
		}
	})
	for _, t := range types {
		symbols = append(symbols, pkg+"."+t)
	}
	return name, symbols
}

// fields visits the length-delimited fields of one message; it stops at the first byte it can't read.
func fields(raw []byte, visit func(number int, value []byte)) {
	for len(raw) > 0 {
		tag, n := binary.Uvarint(raw)
		if n <= 0 {
			return
		}
		raw = raw[n:]
		switch tag & 7 {
		case 0:
			_, n = binary.Uvarint(raw)
			if n <= 0 {
				return
			}
		case 1:
			n = 8
		case 5:
			n = 4
		case lengthDelimit:
			size, m := binary.Uvarint(raw)
			if m <= 0 || uint64(len(raw)-m) < size {
				return
			}
			visit(int(tag>>3), raw[m:m+int(size)])
			n = m + int(size)
		default:
			return
		}
		if n > len(raw) {
			return
		}
		raw = raw[n:]
	}
}

func appendVarint(out []byte, v uint64) []byte { return binary.AppendUvarint(out, v) }
