package pack

import (
	"fmt"
	"regexp"
	"strings"
)

// A FileName is the name of a package as one file, which also is the value of
// the LwM2M package name resource: type.component.package.ext, as in
// container.Java8.java_8_container_v1_3_0_b.tar.
type FileName struct {
	Type string // "container"
	Name string // "Java8", in the spelling of the file name
	File string // "java_8_container_v1_3_0_b.tar", with its extension
}

var (
	fileNameType = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	fileNameName = regexp.MustCompile(`^[A-Za-z0-9]+(-[A-Za-z0-9]+)*$`)
	fileNameFile = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_+-]*(\.[A-Za-z0-9_+-]+)+$`)
)

// ParseFileName reads a package's file name. It never accepts a path.
func ParseFileName(s string) (FileName, error) {
	parts := strings.SplitN(s, ".", 3)
	if len(s) > maxFileName || len(parts) != 3 {
		return FileName{}, fmt.Errorf("%.80q is not a package file name: want type.component.package.ext", s)
	}
	f := FileName{Type: parts[0], Name: parts[1], File: parts[2]}
	switch {
	case !fileNameType.MatchString(f.Type):
		return FileName{}, fmt.Errorf("package file name %q: %q is not a component type", s, f.Type)
	case !fileNameName.MatchString(f.Name):
		return FileName{}, fmt.Errorf("package file name %q: %q is not a component name", s, f.Name)
	case !fileNameFile.MatchString(f.File):
		return FileName{}, fmt.Errorf("package file name %q: %q is not package.ext", s, f.File)
	}
	return f, nil
}

// String returns the file name whole.
func (f FileName) String() string { return f.Type + "." + f.Name + "." + f.File }

// Component returns the component that f names: "container/java8". Component
// names are lower case, as OCI repository names are.
func (f FileName) Component() string { return f.Type + "/" + strings.ToLower(f.Name) }

// DefaultFileName returns the name of a package whose author gave none:
// application.sensor-adapter.sensor-adapter_v2_0_0.tar.
func DefaultFileName(m Manifest) FileName {
	version := strings.ReplaceAll(m.Version, ".", "_")
	return FileName{Type: m.Type, Name: m.Name, File: m.Name + "_v" + version + ".tar"}
}
