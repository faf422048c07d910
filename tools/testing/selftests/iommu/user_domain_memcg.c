// SPDX-License-Identifier: GPL-2.0
/*
 * Page tables that userspace asks for are charged to its cgroup: counted there,
 * the top table included, and refused when the cgroup is full. So is what the
 * driver remembers of devices that they are attached to.
 *
 * profiles: first-stage second-stage
 */
#include <sys/stat.h>
#include <sys/wait.h>

#include "user_domain_util.h"
#include "../kselftest_harness.h"

#define ROOT		"/sys/fs/cgroup"
#define GROUP		ROOT "/iommu_ext_user_domain"
#define PAGE		4096ll

static long long statistic(const char *kind)
{
	FILE *file = fopen(GROUP "/memory.stat", "r");
	long long value = -1, number;
	char line[128], word[64];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "%63s %lld", word, &number) == 2 &&
		    !strcmp(word, kind))
			value = number;
	if (file)
		fclose(file);
	return value;
}

static long long tables(void)
{
	return statistic("sec_pagetables");
}

static long long charged(void)
{
	char text[32] = "";

	read_text(GROUP "/memory.current", text, sizeof(text));
	return atoll(text);
}

/* The kernel sums up every two seconds; it has to be so within five */
static long long tables_become(long long wanted)
{
	long long end = now_ms() + 5000;

	while (tables() != wanted && now_ms() < end)
		usleep(100000);
	return tables();
}

static int group_enter(void)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", getpid());
	return write_file(GROUP "/cgroup.procs", pid);
}

/*
 * Levels of the tables that VT-d has for the device: of the first stage always
 * four, of the second stage what the capability register's SAGAW and MGAW say.
 */
static int levels(struct user *user)
{
	struct iommu_hw_info_vtd vtd = {};
	struct iommu_hw_info info = {
		.size = sizeof(info),
		.dev_id = user->devid,
		.data_len = sizeof(vtd),
		.data_uptr = (uintptr_t)&vtd,
	};
	unsigned int sagaw, mgaw, level;

	if (ioctl(user->iommufd, IOMMU_GET_HW_INFO, &info) ||
	    info.out_data_type != IOMMU_HW_INFO_TYPE_INTEL_VTD)
		return -1;
	if (in_profile("first-stage"))
		return 4;
	sagaw = vtd.cap_reg >> 8 & 0x1f;
	mgaw = (vtd.cap_reg >> 16 & 0x3f) + 1;
	for (level = 3; level <= 5; level++)
		if (sagaw & 1 << (level - 2) && 9 * level + 12 >= mgaw)
			return level;
	return -1;
}

FIXTURE(memcg)
{
	struct pci one;
};

FIXTURE_SETUP(memcg)
{
	ASSERT_EQ(0, write_file(ROOT "/cgroup.subtree_control", "+memory"));
	ASSERT_EQ(0, mkdir(GROUP, 0755));
	ASSERT_TRUE(find_single(&self->one));
	ASSERT_EQ(0, pci_bind(&self->one, DRIVER_VFIO));
}

FIXTURE_TEARDOWN(memcg)
{
	EXPECT_EQ(0, pci_restore(&self->one));
	EXPECT_EQ(0, rmdir(GROUP));
}

enum step { EMPTY, ALLOCATED, MAPPED, DONE };

/* In the cgroup: takes each step when told to, and says the number of levels */
static void tell(const struct pci *pci, int in, int out)
{
	struct hwpt_request request = {};
	struct user user = no_user;
	int answer = -1;
	uint32_t hwpt;
	char step;

	if (group_enter() || iommufd_bind(&user, pci))
		_exit(1);
	while (read(in, &step, 1) == 1) {
		struct iommu_ioas_alloc ioas = { .size = sizeof(ioas) };
		struct iommu_ioas_map map = {
			.size = sizeof(map),
			.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
				 IOMMU_IOAS_MAP_WRITEABLE,
			.user_va = (uintptr_t)user.memory,
			.length = SIZE,
			.iova = IOVA,
			.ioas_id = user.ioas,
		};

		switch (step) {
		case EMPTY:
			answer = ioctl(user.iommufd, IOMMU_IOAS_ALLOC, &ioas) ? -1 :
									       levels(&user);
			user.ioas = ioas.out_ioas_id;
			break;
		case ALLOCATED:
			request.iommufd = user.iommufd;
			request.devid = user.devid;
			request.pt = user.ioas;
			answer = hwpt_alloc(&request, &hwpt);
			break;
		case MAPPED:
			answer = test_ioctl(user.iommufd, IOMMU_IOAS_MAP, &map);
			break;
		default:
			_exit(0);
		}
		if (write(out, &answer, sizeof(answer)) != sizeof(answer))
			_exit(1);
	}
	_exit(1);
}

static int take(enum step step, int in, int out)
{
	char byte = step;
	int answer;

	if (write(out, &byte, 1) != 1 || read(in, &answer, sizeof(answer)) != sizeof(answer))
		return -EPIPE;
	return answer;
}

TEST_F(memcg, tables_are_counted)
{
	int to[2], from[2], status, nr;
	long long start;
	char done = DONE;
	pid_t pid;

	ASSERT_EQ(0, pipe(to));
	ASSERT_EQ(0, pipe(from));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		close(to[1]);
		tell(&self->one, to[0], from[1]);
	}
	close(to[0]);
	close(from[1]);

	nr = take(EMPTY, from[0], to[1]);
	ASSERT_LE(3, nr);
	start = tables();
	EXPECT_EQ(0, start);
	EXPECT_EQ(0, take(ALLOCATED, from[0], to[1]));
	EXPECT_EQ(start + PAGE, tables_become(start + PAGE));
	/* One table a level */
	EXPECT_EQ(0, take(MAPPED, from[0], to[1]));
	EXPECT_EQ(start + nr * PAGE, tables_become(start + nr * PAGE));

	ASSERT_EQ(1, write(to[1], &done, 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(start, tables_become(start));
}

#define NR_PASIDS	512
#define LEAST		(NR_PASIDS * 64ll)	/* bytes, of the smallest objects */

/* Objects of the kernel that are charged to the cgroup */
struct objects {
	int error;
	long long before, attached, after;	/* bytes */
};

static long long objects(void)
{
	return statistic("slab_unreclaimable");
}

/* The kernel sums up every two seconds, if it is awake: until there are so many bytes */
static long long objects_become(long long least, long long most)
{
	long long end = now_ms() + 20000, now;

	while (((now = objects()) < least || now > most) && now_ms() < end)
		usleep(100000);
	return now;
}

/* In the cgroup: attaches one page table to many PASIDs, and off again */
static int attach_many(const struct pci *pci, struct objects *seen)
{
	struct hwpt_request request = { .flags = IOMMU_HWPT_ALLOC_PASID };
	long long end = now_ms() + 5000;
	uint32_t hwpt, pasid;
	struct user user = no_user;
	int ret;

	ret = group_enter();
	if (!ret)
		ret = iommufd_bind(&user, pci);
	if (!ret)
		ret = iommufd_map(&user);
	request.iommufd = user.iommufd;
	request.devid = user.devid;
	request.pt = user.ioas;
	if (!ret)
		ret = hwpt_alloc(&request, &hwpt);
	/* The first one takes along what is needed once */
	if (!ret)
		ret = user_attach_pasid(&user, hwpt, 1);
	/* What was charged so far is seen */
	while (now_ms() < end)
		usleep(100000);
	seen->before = objects();
	for (pasid = 2; !ret && pasid < 2 + NR_PASIDS; pasid++)
		ret = user_attach_pasid(&user, hwpt, pasid);
	seen->attached = objects_become(seen->before + 2 * LEAST, LLONG_MAX);
	for (pasid = 2; !ret && pasid < 2 + NR_PASIDS; pasid++)
		ret = user_detach_pasid(&user, pasid);
	seen->after = objects_become(0, seen->before + LEAST / 2);
	user_close(&user);
	return ret;
}

/* VT-d has two small objects for each: what is attached, and what to invalidate */
TEST_F_TIMEOUT(memcg, attachments_are_charged, 180)
{
	struct objects *seen = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status;
	pid_t pid;

	ASSERT_NE(MAP_FAILED, seen);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		seen->error = attach_many(&self->one, seen);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, seen->error);
	EXPECT_LE(seen->before + 2 * LEAST, seen->attached);
	EXPECT_GE(seen->before + LEAST / 2, seen->after);
	munmap(seen, PAGE);
}

/* What parent and child know of each other without the kernel having to allocate */
struct shared {
	bool full;			/* the child has come that far */
	bool room;			/* the parent has made room */
	int error;			/* what the first domain too many got */
	unsigned int nr;		/* how many there were */
};

static bool is_so(bool *it)
{
	return __atomic_load_n(it, __ATOMIC_SEQ_CST);
}

static void make_so(bool *it)
{
	__atomic_store_n(it, true, __ATOMIC_SEQ_CST);
}

/* A task that must not be killed fills its cgroup */
static int fill_group(const struct pci *pci, struct shared *shared)
{
	struct hwpt_request request = {};
	struct user user = no_user;
	char limit[32];
	uint32_t hwpt;
	int ret;

	ret = write_file("/proc/self/oom_score_adj", "-1000");
	if (!ret)
		ret = group_enter();
	if (!ret)
		ret = iommufd_bind(&user, pci);
	if (!ret)
		ret = iommufd_map(&user);
	if (ret)
		return 1;
	request.iommufd = user.iommufd;
	request.devid = user.devid;
	request.pt = user.ioas;
	/* Room for the tables of a few domains */
	snprintf(limit, sizeof(limit), "%lld", charged() + 128 * PAGE);
	if (write_file(GROUP "/memory.max", limit))
		return 1;
	while (shared->nr < 4096 && !shared->error) {
		shared->error = hwpt_alloc(&request, &hwpt);
		if (!shared->error)
			shared->nr++;
	}
	make_so(&shared->full);
	while (!is_so(&shared->room))
		usleep(1000);
	/* And now it goes on */
	if (hwpt_alloc(&request, &hwpt))
		return 2;
	user_close(&user);
	return 0;
}

TEST_F(memcg, full)
{
	struct shared *shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	int status = 0;
	pid_t pid;

	ASSERT_NE(MAP_FAILED, shared);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(fill_group(&self->one, shared));
	while (!is_so(&shared->full) && !waitpid(pid, &status, WNOHANG))
		usleep(10000);
	EXPECT_TRUE(shared->full);
	EXPECT_EQ(-ENOMEM, shared->error);
	EXPECT_LT(0, shared->nr);
	EXPECT_EQ(0, write_file(GROUP "/memory.max", "max"));
	make_so(&shared->room);
	if (shared->full)
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, tables_become(0));
	munmap(shared, PAGE);
}

TEST_HARNESS_MAIN
