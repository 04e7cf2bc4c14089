package tokenstore

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/relayapi/caddy-relayapi/internal/pgtest"
)

// kind is a database that the contract of a ledger holds for.
type kind struct {
	name string
	// place names a new store.
	place func(testing.TB) string
	open  func(ctx context.Context, place string, now func() time.Time) (*Ledger, error)
	// empty makes the store at a place a new one. Nobody has it open.
	empty func(place string) error
}

var (
	onSQLite   = kind{"sqlite", storePath, openSQLite, os.Remove}
	onPostgres = kind{"postgres", pgtest.DSN, func(ctx context.Context, place string, now func() time.Time) (*Ledger, error) {
		return openPostgres(ctx, PostgresConfig{DSN: place}, now)
	}, func(place string) error {
		return pgtest.Exec(place, `
			DELETE FROM meta; DELETE FROM tokens; DELETE FROM counters; DELETE FROM revocations; DELETE FROM limits; DELETE FROM usage; DELETE FROM usage_days; DELETE FROM warnings;
			DELETE FROM state; DELETE FROM changes; DELETE FROM rates; DELETE FROM slots; DELETE FROM heartbeats; DELETE FROM goose_db_version WHERE version_id > 50`)
	}}
	kinds = []kind{onSQLite, onPostgres}
)

// contract is what every store does.
var contract = []struct {
	name string
	test func(*testing.T, kind)
}{
	{"LimitHoldsExactlyWhenCallsArriveTogether", contractLimitHoldsExactlyWhenCallsArriveTogether},
	{"AdmitComparesWithTheLimitInForce", contractAdmitComparesWithTheLimitInForce},
	{"AdmitTakesAllChargesOrNone", contractAdmitTakesAllChargesOrNone},
	{"AdmitNamesTheFirstExhaustedCounter", contractAdmitNamesTheFirstExhaustedCounter},
	{"OneCounterChargedTwiceInOneCallCountsTwice", contractOneCounterChargedTwiceInOneCallCountsTwice},
	{"EveryPartOfACounterTellsItFromOthers", contractEveryPartOfACounterTellsItFromOthers},
	{"SettleGivesBack", contractSettleGivesBack},
	{"UsedLeavesOutQueuedReturns", contractUsedLeavesOutQueuedReturns},
	{"ImpossibleChargesAreRefused", contractImpossibleChargesAreRefused},
	{"EndedContextAdmitsNothing", contractEndedContextAdmitsNothing},
	{"FirstUseMakesATokenKnown", contractFirstUseMakesATokenKnown},
	{"OneIdentityBelongsToOneToken", contractOneIdentityBelongsToOneToken},
	{"RefreshLivesToTheLatestExpiry", contractRefreshLivesToTheLatestExpiry},
	{"DatabaseNeverShortensALife", contractDatabaseNeverShortensALife},
	{"LimitedTokenFromBeforeTheStoreIsRefused", contractLimitedTokenFromBeforeTheStoreIsRefused},
	{"Admit_AppliesTheLimitInForce", contractAdmitAppliesTheLimitInForce},
	{"Admit_AppliesAnOverrideAtTheFirstUse", contractAdmitAppliesAnOverrideAtTheFirstUse},
	{"RevocationsMatchAndLast", contractRevocationsMatchAndLast},
	{"TokensAreListedInPages", contractTokensAreListedInPages},
	{"TokensAreListedByStatus", contractTokensAreListedByStatus},
	{"LeasesCommitsAndSizeAreTold", contractLeasesCommitsAndSizeAreTold},
	{"UsageAddsUp", contractUsageAddsUp},
	{"UsageOfManyTokens", contractUsageOfManyTokens},
	{"UsageSurvivesAFailedWrite", contractUsageSurvivesAFailedWrite},
	{"PrunedTokensStayRefused", contractPrunedTokensStayRefused},
	{"CountsAreKeptForRefreshes", contractCountsAreKeptForRefreshes},
	{"RevocationsAreKeptUntilNoTokenNeedsThem", contractRevocationsAreKeptUntilNoTokenNeedsThem},
	{"AcceptIssuedSince", contractAcceptIssuedSince},
	{"OneTokenOnTwoStores", contractOneTokenOnTwoStores},
	{"DisabledTokenStaysRefused", contractDisabledTokenStaysRefused},
	{"Usage_KeepsEveryKind", contractUsageKeepsEveryKind},
	{"UsageReport_GroupsAndFilters", contractUsageReportGroupsAndFilters},
	{"UsageReport_SeesWhatWasObservedBefore", contractUsageReportSeesWhatWasObservedBefore},
	{"Observe_BoundsTheNameOfAModel", contractObserveBoundsTheNameOfAModel},
	{"Prune_MergesUsageOverTokens", contractPruneMergesUsageOverTokens},
	{"Limits_HaveAVersion", contractLimitsHaveAVersion},
	{"Settle_RefundsAPart", contractSettleRefundsAPart},
	{"Overrun_IsChargedPastTheLimit", contractOverrunIsChargedPastTheLimit},
	{"Warnings_AreRaisedOnce", contractWarningsAreRaisedOnce},
	{"Warnings_LeaveOutLeases", contractWarningsLeaveOutLeases},
	{"Warnings_LeaveOutReservations", contractWarningsLeaveOutReservations},
	{"Warnings_OfARefusal", contractWarningsOfARefusal},
	{"Warnings_WaitUntilTheyAreDelivered", contractWarningsWaitUntilTheyAreDelivered},
	{"Warnings_ArePruned", contractWarningsArePruned},
	{"StoreSurvivesReopening", contractStoreSurvivesReopening},
	{"ClosedStoreRefusesEverything", contractClosedStoreRefusesEverything},
	{"CloseWaitsForWhatIsUnderWay", contractCloseWaitsForWhatIsUnderWay},
	{"NewerStoreIsRefused", contractNewerStoreIsRefused},
	{"ChangesThatAreGivenUp", contractChangesThatAreGivenUp},
	{"ThousandGoroutinesGetExactlyTheLimit", contractThousandGoroutinesGetExactlyTheLimit},
	{"LimitsThatChangeUnderLoad", contractLimitsThatChangeUnderLoad},
	{"LedgerDoesWhatTheModelDoes", contractLedgerDoesWhatTheModelDoes},
}

func TestContract(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel() // both wait for a disk most of the time
			if k.name == onPostgres.name {
				k = k.reusing(t)
			}
			for _, c := range contract {
				t.Run(c.name, func(t *testing.T) { c.test(t, k) })
			}
		})
	}
}

// reusing makes the places of ended tests new again, because making tables takes
// longer than most tests.
func (k kind) reusing(parent *testing.T) kind {
	var mu sync.Mutex
	fresh := k.place
	free := []string{fresh(parent)} // skips all if there is no database
	k.place = func(t testing.TB) string {
		mu.Lock()
		defer mu.Unlock()

		var place string
		if n := len(free); n > 0 {
			place, free = free[n-1], free[:n-1]
		} else {
			place = fresh(parent)
		}
		t.Cleanup(func() {
			if err := k.empty(place); err != nil {
				t.Errorf("emptying store: %v", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			free = append(free, place)
		})
		return place
	}
	return k
}

func (k kind) openAt(t testing.TB, place string) *Ledger {
	t.Helper()
	s, err := k.open(context.Background(), place, atNoon)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (k kind) openNew(t testing.TB) *Ledger {
	t.Helper()
	return k.openAt(t, k.place(t))
}

// reopen closes a store and opens it again.
func (k kind) reopen(t testing.TB, s *Ledger, place string) *Ledger {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return k.openAt(t, place)
}
