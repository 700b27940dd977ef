package query

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// function is one of the language's, with how many arguments it takes.
type function struct {
	least, most int
	apply       func(arguments []any) any
}

var functions = map[string]function{
	"IS_DEFINED":   {1, 1, func(a []any) any { return a[0] != undefined }},
	"IS_NULL":      {1, 1, func(a []any) any { return a[0] == nil }},
	"IS_BOOL":      is[bool](),
	"IS_STRING":    is[string](),
	"IS_OBJECT":    is[Document](),
	"IS_ARRAY":     is[[]any](),
	"IS_NUMBER":    {1, 1, func(a []any) any { _, ok := number(a[0]); return ok }},
	"IS_PRIMITIVE": {1, 1, isPrimitive},

	"ABS":     math1(math.Abs),
	"CEILING": math1(math.Ceil),
	"FLOOR":   math1(math.Floor),
	"EXP":     math1(math.Exp),
	"SQRT":    math1(math.Sqrt),
	"SQUARE":  math1(func(n float64) float64 { return n * n }),
	"SIGN": math1(func(n float64) float64 {
		switch {
		case n < 0:
			return -1
		case n > 0:
			return 1
		}
		return 0
	}),
	"POWER": {2, 2, func(a []any) any {
		base, ok := number(a[0])
		exponent, too := number(a[1])
		if !ok || !too {
			return undefined
		}
		return finite(math.Pow(base, exponent))
	}},
	"AS_NUMBER": {1, 1, asNumber},

	"LOWER":       text1(func(s string) any { return strings.ToLower(s) }),
	"UPPER":       text1(func(s string) any { return strings.ToUpper(s) }),
	"LENGTH":      text1(func(s string) any { return utf8.RuneCountInString(s) }),
	"CONCAT":      {2, 16, concat},
	"SUBSTRING":   {2, 3, substring},
	"INDEX_OF":    text2(indexOf),
	"STARTS_WITH": text2(func(s, part string) any { return strings.HasPrefix(s, part) }),
	"ENDS_WITH":   text2(func(s, part string) any { return strings.HasSuffix(s, part) }),
	"CONTAINS":    text2(func(s, part string) any { return strings.Contains(s, part) }),
}

func is[T any]() function {
	return function{1, 1, func(a []any) any { _, ok := a[0].(T); return ok }}
}

func isPrimitive(a []any) any {
	switch a[0].(type) {
	case Document, []any, missing:
		return false
	}
	return true
}

func math1(f func(float64) float64) function {
	return function{1, 1, func(a []any) any {
		n, ok := number(a[0])
		if !ok {
			return undefined
		}
		return finite(f(n))
	}}
}

func text1(f func(string) any) function {
	return function{1, 1, func(a []any) any {
		s, ok := a[0].(string)
		if !ok {
			return undefined
		}
		return f(s)
	}}
}

func text2(f func(s, part string) any) function {
	return function{2, 2, func(a []any) any {
		s, ok := a[0].(string)
		part, too := a[1].(string)
		if !ok || !too {
			return undefined
		}
		return f(s, part)
	}}
}

func indexOf(s, part string) any {
	i := strings.Index(s, part)
	if i < 0 {
		return -1
	}
	return utf8.RuneCountInString(s[:i])
}

func concat(a []any) any {
	var all strings.Builder
	for _, value := range a {
		s, ok := value.(string)
		if !ok || all.Len()+len(s) > maxText {
			return undefined
		}
		all.WriteString(s)
	}
	return all.String()
}

// maxText is how long a text can become, in bytes: those of a few could otherwise fill the memory.
const maxText = 16 << 10

// substring begins at a position from 0 on, and goes to the end or has so many characters.
func substring(a []any) any {
	s, ok := a[0].(string)
	if !ok {
		return undefined
	}
	runes := []rune(s)
	from, ok := number(a[1])
	length, too := float64(len(runes)), true
	if len(a) == 3 {
		length, too = number(a[2])
	}
	if !ok || !too || from < 0 || length < 0 {
		return undefined
	}
	begin := int(min(from, float64(len(runes))))
	return string(runes[begin : begin+int(min(length, float64(len(runes)-begin)))])
}

func asNumber(a []any) any {
	if s, ok := a[0].(string); ok {
		n, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return undefined
		}
		return finite(n)
	}
	if n, ok := number(a[0]); ok {
		return n
	}
	return undefined
}
