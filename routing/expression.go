package routing

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/vm"
)

const (
	maxExprBytes = 4 << 10
	maxExprNodes = 1_000
	maxSteps     = 10_000    // of an expression's loops, all together, for one event
	maxLooked    = 256 << 20 // bytes of an event, times the steps: what one operation within loops may come to look at
)

// exprFunctions are what an expression may call: whatever costs time in proportion to what it is given and makes
// nothing that is larger. The clock is not among them, nor what would let memory grow, such as repeat or reduce.
var exprFunctions = strings.Fields(`
	all any none one filter map find findIndex findLast findLastIndex count sum
	len abs ceil floor round int float string trim trimPrefix trimSuffix upper lower
	indexOf lastIndexOf hasPrefix hasSuffix max min first last get keys values`)

// The names of what the compiler weaves into expressions; the language has no names with a blank.
const (
	stepName   = "one step"
	addName    = "sum of two"
	budgetName = "steps left"
)

var errSteps = errors.New("the loops of the expression take too many steps for an event of this size")

// compileExpr compiles an expression of https://expr-lang.org that is true or false of an event. It sees id, type,
// data, metadata and timestamp, and with withChannel also channel; a member that data has not is nil. To keep its
// cost within bounds for any event it has no let, no ranges and no reduce, + adds numbers only, and a pattern to match
// stands in the expression itself.
func compileExpr(source string, withChannel bool) (*vm.Program, error) {
	if len(source) > maxExprBytes {
		return nil, fmt.Errorf("has %d bytes: want at most %d", len(source), maxExprBytes)
	}
	names := map[string]any{
		"id": "", "type": "", "timestamp": "", "data": map[string]any{}, "metadata": map[string]any{},
		budgetName: (*steps)(nil),
	}
	if withChannel {
		names["channel"] = ""
	}
	var guard exprGuard
	program, err := expr.Compile(source,
		expr.Env(names), expr.AsBool(), expr.MaxNodes(maxExprNodes), expr.Patch(&guard),
		expr.Optimize(false), // it makes 5 in ["5"] an error instead of false
		expr.Function(stepName, takeStep, new(func(*steps) bool)),
		expr.Function(addName, addNumbers, new(func(any, any) any)))
	if len(guard.problems) > 0 {
		return nil, errors.New(strings.Join(guard.problems, "; "))
	}
	if err != nil {
		message, _, _ := strings.Cut(err.Error(), "\n") // what follows is a drawing
		return nil, fmt.Errorf("%s: want an expression of id, type, data, metadata%s and timestamp that is true or false",
			message, map[bool]string{true: ", channel"}[withChannel])
	}
	return program, nil
}

// exprGuard refuses what could cost too much, and makes loops count their steps.
type exprGuard struct{ problems []string }

func (g *exprGuard) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.IdentifierNode:
		if n.Value == "$env" {
			g.refuse("$env: name id, type, data, metadata or timestamp")
		}
	case *ast.BuiltinNode:
		if !slices.Contains(exprFunctions, n.Name) {
			g.refuse(n.Name + ": the functions are " + strings.Join(exprFunctions, ", "))
		}
	case *ast.VariableDeclaratorNode:
		g.refuse("let: write the value where it is used")
	case *ast.BinaryNode:
		g.binary(node, n)
	case *ast.PredicateNode:
		n.Node = &ast.SequenceNode{Nodes: []ast.Node{call(stepName, &ast.IdentifierNode{Value: budgetName}), n.Node}}
	}
}

func (g *exprGuard) binary(node *ast.Node, n *ast.BinaryNode) {
	switch n.Operator {
	case "..":
		g.refuse("..: there are no ranges, compare with >= and <=")
	case "matches":
		pattern, ok := n.Right.(*ast.StringNode)
		if !ok {
			g.refuse("matches: want a pattern in quotes")
		} else if _, err := compilePattern(pattern.Value); err != nil {
			g.refuse("matches: " + err.Error())
		}
	case "+":
		_, left := n.Left.(*ast.StringNode)
		_, right := n.Right.(*ast.StringNode)
		if left || right {
			g.refuse("+: it adds numbers only")
		}
		ast.Patch(node, call(addName, n.Left, n.Right))
	}
}

func (g *exprGuard) refuse(what string) { g.problems = append(g.problems, what) }

func call(name string, arguments ...ast.Node) ast.Node {
	return &ast.CallNode{Callee: &ast.IdentifierNode{Value: name}, Arguments: arguments}
}

// steps is how many an evaluation has left.
type steps struct{ left int }

// stepsFor is how many there are for an event of so many bytes: 10,000 up to 26 kB, then fewer, 256 for 1 MiB.
func stepsFor(size int) int { return min(maxSteps, maxLooked/max(size, 1)) }

func takeStep(params ...any) (any, error) {
	s := params[0].(*steps)
	if s.left == 0 {
		return nil, errSteps
	}
	s.left--
	return true, nil
}

func addNumbers(params ...any) (any, error) {
	var sum float64
	for _, p := range params {
		switch p := p.(type) {
		case int:
			sum += float64(p)
		case float64:
			sum += p
		default:
			return nil, fmt.Errorf("+ of a %T: it adds numbers only", p)
		}
	}
	return sum, nil
}
