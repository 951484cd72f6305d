// Command extract collects protobuf descriptors from Go modules.
//
// Code that protoc-gen-go made carries the descriptor of its .proto file in a constant
// named ..._rawDesc. This program parses the source (nothing is compiled or run), joins
// those constants to one FileDescriptorSet per set of modules.txt, and writes them as
// <set>.binpb.gz beside a MANIFEST. It needs the go tool for the download of the modules
// and the standard library.
//
//	go run . -out ..                     with every module from the module proxy
//	go run . -out .. -local PATH=DIR     with the module PATH taken from the folder DIR
package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

// source is one line of modules.txt.
type source struct {
	set, path, version string
	only, skip         []string
}

// set is the descriptors of one output file.
type set struct {
	files   map[string][]byte // by the name of the .proto file
	symbols map[string]string // by top-level type, the .proto file that defines it
}

func main() {
	log.SetFlags(0)
	out := flag.String("out", "..", "folder for the sets and the MANIFEST")
	list := flag.String("modules", "modules.txt", "list of modules")
	local := map[string]string{}
	flag.Func("local", "PATH=DIR: take this module from a folder", func(v string) error {
		path, dir, ok := strings.Cut(v, "=")
		if !ok {
			return fmt.Errorf("want PATH=DIR")
		}
		local[path] = dir
		return nil
	})
	flag.Parse()

	sources, err := readList(*list)
	check(err)
	sets := map[string]*set{}
	var manifest strings.Builder
	manifest.WriteString("Written by extract/main.go. Sources in order, with the number of .proto files taken from each.\n\n")
	for _, s := range sources {
		dir, sum := local[s.path], "folder"
		if dir == "" {
			dir, sum, err = download(s.path + "@" + s.version)
			check(err)
		}
		if sets[s.set] == nil {
			sets[s.set] = &set{files: map[string][]byte{}, symbols: map[string]string{}}
		}
		taken, err := sets[s.set].collect(dir, s)
		check(err)
		fmt.Fprintf(&manifest, "%s %s %s %s files=%d\n", s.set, s.path, s.version, sum, taken)
	}
	manifest.WriteString("\n")
	names := make([]string, 0, len(sets))
	for name := range sets {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		raw := sets[name].encode()
		var packed bytes.Buffer
		z, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression)
		_, err := z.Write(raw)
		check(err)
		check(z.Close())
		file := name + ".binpb.gz"
		check(os.WriteFile(filepath.Join(*out, file), packed.Bytes(), 0o644))
		fmt.Fprintf(&manifest, "%s files=%d bytes=%d sha256=%x unpacked-sha256=%x\n",
			file, len(sets[name].files), len(raw), sha256.Sum256(packed.Bytes()), sha256.Sum256(raw))
	}
	check(os.WriteFile(filepath.Join(*out, "MANIFEST"), []byte(manifest.String()), 0o644))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func readList(path string) ([]source, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out []source
	for _, line := range strings.Split(string(text), "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		if len(words) < 3 {
			return nil, fmt.Errorf("%s: short line %q", path, line)
		}
		s := source{set: words[0], path: words[1], version: words[2]}
		for _, w := range words[3:] {
			if w[0] == '+' {
				s.only = append(s.only, w[1:])
			} else {
				s.skip = append(s.skip, strings.TrimPrefix(w, "-"))
			}
		}
		out = append(out, s)
	}
	return out, nil
}

func download(module string) (dir, sum string, err error) {
	text, err := exec.Command("go", "mod", "download", "-json", module).Output()
	var answer struct{ Dir, Sum, Error string }
	if json.Unmarshal(text, &answer) == nil && answer.Error != "" {
		return "", "", fmt.Errorf("%s: %s", module, answer.Error)
	}
	return answer.Dir, answer.Sum, err
}

// collect adds the descriptors below dir and returns how many it added.
func (t *set) collect(dir string, s source) (int, error) {
	taken := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".pb.go") || strings.HasSuffix(path, "_vtproto.pb.go") {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		if !s.wants(filepath.ToSlash(rel)) {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		raw, err := rawDesc(file)
		if err != nil || raw == nil {
			return err
		}
		if t.add(raw, rel) {
			taken++
		}
		return nil
	})
	return taken, err
}

func (s source) wants(rel string) bool {
	for _, p := range s.skip {
		if strings.HasPrefix(rel, p) {
			return false
		}
	}
	for _, p := range s.only {
		if strings.HasPrefix(rel, p) {
			return true
		}
	}
	return len(s.only) == 0
}

// add takes one FileDescriptorProto unless its name or one of its types is known.
func (t *set) add(raw []byte, from string) bool {
	name, symbols := outline(raw)
	if _, known := t.files[name]; known {
		return false
	}
	for _, s := range symbols {
		if by, known := t.symbols[s]; known {
			log.Printf("%s: passed over, %s comes from %s", from, s, by)
			return false
		}
	}
	for _, s := range symbols {
		t.symbols[s] = name
	}
	t.files[name] = raw
	return true
}

// encode is the FileDescriptorSet: field 1 for each file, in the order of the names.
func (t *set) encode() []byte {
	names := make([]string, 0, len(t.files))
	for name := range t.files {
		names = append(names, name)
	}
	sort.Strings(names)
	var out []byte
	for _, name := range names {
		out = append(out, 0x0a)
		out = appendVarint(out, uint64(len(t.files[name])))
		out = append(out, t.files[name]...)
	}
	return out
}

// rawDesc finds the descriptor among a file's declarations, nil if there is none.
func rawDesc(file *ast.File) ([]byte, error) {
	for _, d := range file.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, s := range decl.Specs {
			spec, ok := s.(*ast.ValueSpec)
			if ok && len(spec.Names) == 1 && len(spec.Values) == 1 && strings.HasSuffix(spec.Names[0].Name, "_rawDesc") {
				return constant(spec.Values[0])
			}
		}
	}
	return nil, nil
}

// constant evaluates the three spellings in use: "a" + "b", []byte{0x0a, ...} and string([]byte{...}).
func constant(e ast.Expr) ([]byte, error) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.INT {
			v, err := strconv.ParseUint(e.Value, 0, 8)
			return []byte{byte(v)}, err
		}
		v, err := strconv.Unquote(e.Value)
		return []byte(v), err
	case *ast.BinaryExpr:
		left, err := constant(e.X)
		if err != nil {
			return nil, err
		}
		right, err := constant(e.Y)
		return append(left, right...), err
	case *ast.CompositeLit:
		var out []byte
		for _, item := range e.Elts {
			b, err := constant(item)
			if err != nil {
				return nil, err
			}
			out = append(out, b...)
		}
		return out, nil
	case *ast.CallExpr:
		if len(e.Args) == 1 {
			return constant(e.Args[0])
		}
	case *ast.ParenExpr:
		return constant(e.X)
	}
	return nil, fmt.Errorf("descriptor in an unknown spelling %T", e)
}
